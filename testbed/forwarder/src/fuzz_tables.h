/* The tables that fuzzing starts from: rows of the control language (docs/forwarder.md). corpus/make.py makes packets
 * for them. Ports named `out...` have a neighbour each, `in` takes IP multicast and the trees' packets. */
#ifndef FUZZ_TABLES_H
#define FUZZ_TABLES_H

#define F64 "ffffffffffffffff"
#define F256 F64 F64 F64 F64
#define F1024 F256 F256 F256 F256
#define Z64 "0000000000000000"
#define Z256 Z64 Z64 Z64 Z64
#define Z1024 Z256 Z256 Z256 Z256

#define PORTS                                             \
	"node source 2001:db8::1 ttl 64 tunnel 198.51.100.1 fib 9", \
	"port in transport context 1",                    \
	"port out1 transport",                            \
	"port out2 transport context 2",                  \
	"port out3 transport",                            \
	"port host",                                      \
	"port fib",                                       \
	"nexthop 1 port out1 mac 02:00:00:01:00:01",      \
	"nexthop 2 port out2 mac 02:00:00:01:00:02",      \
	"nexthop 3 port out3 via 192.0.2.3",              \
	"nexthop 4 port out3 via 2001:db8:1::4",          \
	"nexthop 9 port fib mac 02:00:00:01:00:09",       \
	"nexthop 10 port out1 mac 02:00:00:01:00:01 tunnel 198.51.100.10"

/* Both encapsulations; one way, several, equal-cost alternatives; the shortest BitString and the longest. */
static const char *const rows_bier[] = {
	PORTS,
	"bift ethernet 1 sd 0 si 0 bsl 64 bfr-id 3 context 2 mtu 1400",
	"path ethernet 1 0 0 fbm 9 nexthop 1 as 11",
	"path ethernet 1 0 1 fbm 2 nexthop 2",
	"path ethernet 1 0 2 fbm 4 local",
	"path ethernet 1 0 3 fbm f0 drop",
	"path ethernet 1 0 4 fbm 300 nexthop 3",
	"path ethernet 1 0 5 fbm c00 nexthop 10 as 13",
	"bift mpls 100 sd 0 si 0 bsl 64 bfr-id 3 context 3",
	"path mpls 100 0 0 fbm 9 nexthop 1 as 101",
	"path mpls 100 0 1 fbm 2 nexthop 2",
	"path mpls 100 0 2 fbm 4 local",
	"path mpls 100 0 3 fbm 300 nexthop 4 as 16",
	"path mpls 100 0 4 fbm c00 nexthop 10 as 113",
	"bift ethernet 2 sd 1 si 1 bsl 256 bfr-id 257 context 4", /* BFR-id 257 is bit 1 of SI 1 */
	"path ethernet 2 0 0 fbm " F64 F64 " nexthop 1",
	"path ethernet 2 0 1 fbm " F64 Z64 " nexthop 2",
	"path ethernet 2 0 2 fbm " F64 F64 Z64 " nexthop 3",
	"path ethernet 2 1 0 fbm " F256 " nexthop 3",
	"path ethernet 2 1 1 fbm " F256 " nexthop 2 as 22",
	"path ethernet 2 2 0 fbm " F64 "fffffffffffffff0 nexthop 2",
	"bift mpls 200 sd 1 si 0 bsl 256 bfr-id 1 context 2",
	"path mpls 200 0 0 fbm 1 local",
	"path mpls 200 0 1 fbm " F64 F64 Z64 Z64 " nexthop 1",
	"path mpls 200 0 2 fbm " F64 F64 Z64 Z64 " nexthop 2",
	"path mpls 200 0 3 fbm " F64 Z64 " nexthop 3",
	"path mpls 200 1 0 fbm 1 local",
	"path mpls 200 1 1 fbm " F64 F64 F64 "fffffffffffffffe nexthop 2",
	"bift ethernet 0 sd 2 si 0 bsl 4096 bfr-id 4096 context 2 mtu 2000",
	"path ethernet 0 0 0 fbm 7" F1024 F1024 F1024 F256 F256 F256 F64 F64 F64 "fffffffffffffff nexthop 1 as 1048575",
	"path ethernet 0 0 1 fbm 8" Z1024 Z1024 Z1024 Z256 Z256 Z256 Z64 Z64 Z64 "000000000000000 local",
	"bift mpls 1048575 sd 2 si 0 bsl 4096 bfr-id 7",
	"path mpls 1048575 0 0 fbm " F1024 F1024 Z1024 Z1024 " nexthop 1",
	"path mpls 1048575 0 1 fbm " F1024 F1024 " nexthop 10",
	"label 30 pop",
	"label 31 pop context 2",
	"flow 1 * * bier ethernet 1 f bier mpls 100 f port host",
	"flow 1 192.0.2.1 232.1.2.3 bier ethernet 2 " F256 " bier ethernet 0 " F1024 " port in port host",
	"flow 1 2001:db8::1 ff3e::8000:1 bier mpls 200 " F64 F64 F64 "ffffffff00000001 bier mpls 1048575 " F1024 F64,
	"flow 1 * 232.1.2.4 bier ethernet 1 4",
	"flow 2 * * port host port out3",
	"flow 2 * 232.9.9.9 bier ethernet 1 6 port host", /* what is delivered goes back into the tree it came from */
	"flow 3 * * port host",
	"flow 3 * 232.9.9.9 bier mpls 100 f bier ethernet 1 f bier mpls 200 3",
	"flow 3 2001:db8::1 ff3e::9 bier mpls 100 6 bier mpls 200 3",
	0,
};

/* SR-MPLS: every operation, every role, strict and loose branches, BIER below labels. */
static const char *const rows_mpls[] = {
	PORTS,
	"label 16 swap 17 nexthop 1",
	"label 17 swap 1048575 nexthop 3",
	"label 20 pop nexthop 2",
	"label 21 pop nexthop 3",
	"label 22 pop",
	"label 23 pop context 2",
	"label 24 pop context 3",
	"label 1000 replicate 1",
	"label 1001 replicate 2",
	"label 1002 replicate 3",
	"label 1003 replicate 4",
	"label 1004 replicate 5",
	"label 1005 replicate 8",
	"segment 1 transit",
	"branch 1 0 labels 1100 nexthop 1",
	"branch 1 1 labels 30,31,1101 nexthop 2",
	"branch 1 2 labels 16,1102",
	"branch 1 3 labels 20,1103",
	"branch 1 4 labels 20",
	"branch 1 5 labels 16",
	"branch 1 6 labels 22,1104",
	"branch 1 7 labels 99,1104",
	"branch 1 8 labels 41,42,43,44,45,46,47,48 nexthop 3",
	"segment 2 bud context 2",
	"branch 2 0 labels 1200 nexthop 1",
	"branch 2 1 labels 16,20,21,22,23,30,31,1201",
	"segment 3 leaf context 2",
	"segment 4 leaf",
	"segment 5 transit",
	"segment 6 head mtu 1300",
	"branch 6 0 labels 1300 nexthop 1",
	"branch 6 1 labels 20,21,22,23,30,31,32,1301",
	"branch 6 2 sid 2001:db8:f::1 nexthop 2 srh 2001:db8:e::1,2001:db8:e::2",
	"segment 7 bud context 3",
	"branch 7 0 labels 16,1400",
	"segment 8 head", /* with a Replication-SID of its own, which steers as well (RFC 9524 section 2) */
	"branch 8 0 labels 20,1500",
	"bift mpls 100 sd 0 si 0 bsl 64 bfr-id 3 context 3",
	"path mpls 100 0 0 fbm 9 nexthop 1",
	"path mpls 100 0 1 fbm 2 nexthop 2",
	"path mpls 100 0 2 fbm 4 local",
	"flow 1 * * segment 6",
	"flow 1 * 232.1.2.3 segment 6 segment 7 segment 1 segment 5 bier mpls 100 f port host",
	"flow 2 * * port host",
	"flow 2 * 232.9.9.9 segment 7 bier mpls 100 7",
	"flow 3 * * port host port out1 segment 7",
	"flow 3 * 232.9.9.9 bier mpls 100 4 segment 6",
	0,
};

/* SRv6: every role, branches of each kind and depth. */
static const char *const rows_srv6[] = {
	PORTS,
	"sid 2001:db8:f::1 replicate 1",
	"sid 2001:db8:f::2 replicate 2",
	"sid 2001:db8:f::3 replicate 3",
	"sid 2001:db8:f::4 replicate 4",
	"sid 2001:db8:f::5 replicate 5",
	"sid 2001:db8:f::6 replicate 6",
	"sid 2001:db8:f::c context 3",
	"segment 1 transit threshold 10",
	"branch 1 0 sid 2001:db8:f::11 nexthop 1",
	"branch 1 1 sid 2001:db8:f::12 nexthop 2 encaps 2001:db8:e::1",
	"branch 1 2 sid 2001:db8:f::13 nexthop 9 encaps 2001:db8:e::1,2001:db8:e::2,2001:db8:e::3",
	"branch 1 3 sid 2001:db8:f::14 nexthop 3 encaps ::1,::2,::3,::4,::5,::6,::7,::8",
	"segment 2 bud context 2",
	"branch 2 0 sid 2001:db8:f::21 nexthop 1",
	"segment 3 leaf context 2",
	"segment 4 leaf",
	"segment 5 transit",
	"segment 6 head mtu 65535",
	"branch 6 0 sid 2001:db8:f::61 nexthop 1",
	"branch 6 1 sid 2001:db8:f::62 nexthop 2 encaps 2001:db8:e::1",
	"branch 6 2 sid 2001:db8:f::63 nexthop 9 encaps ::1,::2,::3,::4,::5,::6,::7,::8",
	"branch 6 3 sid 2001:db8:f::64 nexthop 9 srh ::1,::2,::3,::4,::5,::6,::7,::8",
	"branch 6 4 sid 2001:db8:f::65 nexthop 1 srh 2001:db8:e::1",
	"segment 7 head",
	"branch 7 0 labels 30,31 nexthop 1",
	"branch 7 1 sid 2001:db8:f::71 nexthop 1",
	"flow 1 * * segment 7 port host",
	"flow 1 * 232.1.2.3 segment 6",
	"flow 1 2001:db8::1 ff3e::8000:1 segment 6 segment 7 port out1",
	"flow 2 * * port host",
	"flow 2 * ff3e::9 segment 6 segment 2",
	"flow 3 * * port out3 segment 1",
	0,
};

/* Trees that lead into trees, of every kind, and back. */
static const char *const rows_nested[] = {
	PORTS,
	"bift ethernet 1 sd 0 si 0 bsl 64 bfr-id 1 context 2",
	"path ethernet 1 0 0 fbm 1 local",
	"path ethernet 1 0 1 fbm 2 nexthop 1",
	"bift mpls 100 sd 0 si 0 bsl 64 bfr-id 1 context 3",
	"path mpls 100 0 0 fbm 1 local",
	"path mpls 100 0 1 fbm 2 nexthop 2",
	"bift mpls 101 sd 1 si 0 bsl 128 bfr-id 1 context 4",
	"path mpls 101 0 0 fbm 1 local",
	"path mpls 101 0 1 fbm " F64 "0000000000000000 nexthop 2",
	"label 1000 replicate 1",
	"label 22 pop context 3",
	"segment 1 bud context 4",
	"branch 1 0 labels 1100 nexthop 1",
	"sid 2001:db8:f::2 replicate 2",
	"sid 2001:db8:f::c context 5",
	"segment 2 bud context 5",
	"branch 2 0 sid 2001:db8:f::21 nexthop 2",
	"segment 3 head",
	"branch 3 0 labels 16,1101 nexthop 1",
	"branch 3 1 sid 2001:db8:f::31 nexthop 1",
	"flow 1 * * bier ethernet 1 3 bier mpls 100 3 segment 1",
	"flow 2 * * bier mpls 100 3 segment 3 port host",
	"flow 3 * * bier mpls 101 ffff0000000000000003 segment 1 segment 2 port host",
	"flow 4 * * bier ethernet 1 3 port in",
	"flow 5 * * bier ethernet 1 1 port out1 port host",
	0,
};

static const char *const rows_none[] = {0};

static const char *const *const sets[] = {rows_bier, rows_mpls, rows_srv6, rows_nested, rows_none};

#endif
