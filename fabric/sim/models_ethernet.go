package sim

import "time"

// ethernet: sockets of the kernel in a data center.
func ethernet() Model {
	return Model{
		Name:  "ethernet",
		About: "Ethernet of 25 Gbit/s in a data center, UDP over IPv4 through the kernel's sockets, receivers that sleep until something comes",
		Medium: Medium{
			Name: "ethernet", Rate: 3_125_000_000, PayloadBytes: 1472, HeaderBytes: 66, MinPacket: 84, SendCost: 3 * time.Microsecond, ReceiveCost: 9 * time.Microsecond,
			Unsynchronised: true,
		},
		Faults: Faults{Delay: 1200 * time.Nanosecond, Jitter: 5 * time.Microsecond, Loss: 2e-5, Reorder: 0.01, ReorderBy: time.Millisecond},
		Figures: []Figure{
			{"Rate", 1.25e9, 12.5e9, Stated, src8023, "25 Gbit/s; 10 to 100 are common"},
			{"PayloadBytes", 1472, 8972, Stated, srcIP, "1500 less the headers of IP and UDP; jumbo frames of 9000"},
			{"HeaderBytes", 66, 86, Stated, src8023, "preamble 8, header and checksum 18, gap 12, IP 20 (IPv6: 40), UDP 8"},
			{"MinPacket", 84, 84, Stated, src8023, "64 with preamble and gap"},
			{"SendCost", us(0.5), us(6), Inferred, srcOwn, "a round trip is twice sending and receiving: one way is 11 to 15 µs"},
			{"ReceiveCost", us(3), us(15), Inferred, srcOwn, "as SendCost; a wake-up is 5 µs and more of it"},
			{"Delay", us(0.8), us(50), Inferred, srcERPC, "half of 2.3 µs, as its hosts cost next to nothing; several switches take more"},
			{"Jitter", us(1), us(200), Inferred, srcPingmesh, "well below the published median, which holds the hosts' load too"},
			{"Loss", 1e-6, 1e-4, Measured, srcPingmesh, "each packet; congestion of its own making not counted"},
			{"Reorder", 0.001, 0.02, Measured, srcPingmesh, "the slowest percent"},
			{"ReorderBy", us(100), ms(2), Inferred, srcPingmesh, "P99 less P50"},
			{"InOrder", 0, 0, Inferred, srcIP, "no: several queues and routes"},
			{"Multicast", 0, 0, Inferred, srcIP, "no: IP multicast is rarely switched on"},
			{"Lossless", 0, 0, Stated, src8023, "no"},
			{"Unsynchronised", 0, 0, Inferred, src8023, "with PTP it is false, and Faults.ClockError what PTP reaches"},
		},
		NotCovered: []string{
			"queues in switches: congestion shows as Jitter and Reorder at random, not where and when senders meet",
			"loss in bursts; each packet is lost by itself, and a frame that lost one is sent again as a whole",
			"segmentation and receive offloads, which spread SendCost and ReceiveCost over many packets",
			"congestion control",
		},
	}
}

// tte: Ethernet on a timetable.
func tte() Model {
	return Model{
		Name:  "tte",
		About: "Time-Triggered Ethernet (SAE AS6802) of 1 Gbit/s, one switch, all members in one virtual link each, time-triggered traffic alone",
		Medium: Medium{
			Name: "tte", Rate: 125_000_000, PayloadBytes: 1500, HeaderBytes: 38, MinPacket: 84, SendCost: 2 * time.Microsecond, ReceiveCost: 3 * time.Microsecond,
			Multicast: true, InOrder: true, Cycle: time.Millisecond, Slot: 100 * time.Microsecond, Guard: 2 * time.Microsecond,
		},
		Faults: Faults{Delay: 15 * time.Microsecond, Jitter: 100 * time.Nanosecond, Loss: 1e-8, ClockError: time.Microsecond},
		Figures: []Figure{
			{"Rate", 12.5e6, 125e6, Stated, srcTTE, "100 Mbit/s or 1 Gbit/s"},
			{"PayloadBytes", 1500, 1500, Stated, src8023, "no IP: frames of the members' own"},
			{"HeaderBytes", 38, 38, Stated, src8023, "preamble 8, header and checksum 18, gap 12"},
			{"MinPacket", 84, 84, Stated, src8023, "64 with preamble and gap"},
			{"SendCost", us(0.1), us(10), Assumed, srcAS6802, "the frame lies ready when its slot begins"},
			{"ReceiveCost", us(0.1), us(20), Assumed, srcAS6802, "a receiver that polls or sleeps until its time"},
			{"Delay", us(4), us(30), Inferred, src8023, "a switch that stores the frame first sends it once more: 12.3 µs for the largest, and its own time"},
			{"Jitter", us(0.01), us(1), Inferred, srcTTE, "below the precision of the clocks"},
			{"Loss", 1e-12, 1e-7, Inferred, src8023, "12,304 bits with 1e-12 errors each; nothing is dropped for want of room, and the fabric sends nothing again"},
			{"ClockError", us(0.05), us(1), Stated, srcTTE, "the precision of the synchronised clocks"},
			{"Cycle", ms(0.125), ms(100), Assumed, srcChoice, "a common length of a cluster cycle"},
			{"Slot", us(12.304), ms(10), Assumed, srcChoice, "ten members"},
			{"Guard", us(2), us(20), Assumed, srcChoice, "twice the clock error, so that slots of two members do not overlap"},
			{"Multicast", 0, 0, Stated, srcTTE, "a virtual link has one sender and any receivers"},
			{"InOrder", 0, 0, Inferred, srcAS6802, "one route for each virtual link"},
			{"Lossless", 0, 0, Stated, src8023, "no: a frame with a bit error is dropped"},
			{"Unsynchronised", 0, 0, Stated, srcAS6802, "no: the fabric synchronises its members"},
		},
		NotCovered: []string{
			"how clocks are synchronised, start-up, cliques, and members that lose synchrony (SetClock does that by hand)",
			"rate-constrained and best-effort traffic beside the time-triggered",
			"redundant channels, and switches that police the schedule: a member that sends out of its slot is not stopped",
			"a schedule with more than one slot for a member and cycle, or with slots of different length",
			"that a store-and-forward switch delays large frames more than small ones",
		},
	}
}

// wan: two regions of a provider.
func wan() Model {
	return Model{
		Name:  "wan",
		About: "Path between two regions of one provider, some 5,000 km of fibre apart, UDP over IPv4 through the kernel's sockets",
		Medium: Medium{
			Name: "wan", Rate: 125_000_000, PayloadBytes: 1472, HeaderBytes: 66, MinPacket: 84, SendCost: 3 * time.Microsecond, ReceiveCost: 9 * time.Microsecond,
			Unsynchronised: true,
		},
		Faults: Faults{Delay: 35 * time.Millisecond, Jitter: time.Millisecond, Loss: 1e-4, Reorder: 1e-3, ReorderBy: 20 * time.Millisecond},
		Figures: []Figure{
			{"Rate", 12.5e6, 1.25e9, Assumed, srcChoice, "1 Gbit/s of a larger trunk, as bought"},
			{"PayloadBytes", 1172, 1472, Stated, srcIP, "1500 less the headers of IP and UDP; tunnels take more"},
			{"HeaderBytes", 66, 126, Stated, src8023, "preamble 8, header and checksum 18, gap 12, IP 20, UDP 8; tunnels take more"},
			{"MinPacket", 84, 84, Stated, src8023, "64 with preamble and gap"},
			{"SendCost", us(0.5), us(6), Inferred, srcOwn, "as ethernet"},
			{"ReceiveCost", us(3), us(15), Inferred, srcOwn, "as ethernet"},
			{"Delay", ms(1), ms(100), Inferred, srcG652, "5,000 km take 25 ms, routes are not straight; 1 ms is a metropolitan path, 100 ms what class 0 of Y.1541 allows"},
			{"Jitter", ms(0.05), ms(50), Assumed, srcHaq, "a tenth of what class 0 of Y.1541 allows, and less"},
			{"Loss", 1e-6, 1e-3, Inferred, srcHaq, "a tenth of what class 0 of Y.1541 allows"},
			{"Reorder", 0, 0.01, Assumed, srcY1541, "packets that meet a queue or another route"},
			{"ReorderBy", ms(1), ms(50), Assumed, srcY1541, "within the delay variation of class 0"},
			{"InOrder", 0, 0, Inferred, srcIP, "no"},
			{"Multicast", 0, 0, Inferred, srcIP, "no"},
			{"Lossless", 0, 0, Stated, srcIP, "no"},
			{"Unsynchronised", 0, 0, Inferred, srcIP, "clocks set by NTP have no error bound that could be relied on"},
		},
		NotCovered: []string{
			"loss in bursts and outages of seconds: use Cut, or Faults.CutEvery",
			"the bottleneck in the middle and who shares it; congestion control",
			"delays that differ by direction and by pair of members: use SetLink",
			"changes of the route",
		},
	}
}
