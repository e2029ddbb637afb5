package sim

import "time"

// dataVortex: a network of deflection switches that moves single words.
func dataVortex() Model {
	return Model{
		Name:  "data-vortex",
		About: "Data Vortex system of 2015 to 2017: self-routing switches without buffers, adapters on PCIe that move packets of one 64-bit word with a 64-bit header",
		Medium: Medium{
			Name: "data-vortex", Rate: 8_800_000_000, PayloadBytes: 8, HeaderBytes: 8, SendCost: 300 * time.Nanosecond, ReceiveCost: 300 * time.Nanosecond,
			Lossless: true, OneSided: true, Unsynchronised: true,
		},
		Faults: Faults{Delay: 600 * time.Nanosecond, Jitter: 100 * time.Nanosecond, Reorder: 1e-3, ReorderBy: time.Microsecond},
		Figures: []Figure{
			{"Rate", 4.4e9, 17.6e9, Inferred, srcGioiosa, "4.4 GB/s of payload per node at most, and as much again for the headers; a later adapter states 1.1e9 words/s"},
			{"PayloadBytes", 8, 8, Stated, srcGioiosa, ""},
			{"HeaderBytes", 8, 8, Stated, srcGioiosa, "destination, address, counter"},
			{"SendCost", us(0.1), us(1), Assumed, srcGioiosa, "one write over PCIe"},
			{"ReceiveCost", us(0.1), us(1), Assumed, srcGioiosa, "polling adapter memory over PCIe"},
			{"Delay", us(0.2), us(1.5), Assumed, srcGioiosa, "no figure of a hop or of a ping-pong was at hand: adapters of programmable logic and a few switch cylinders"},
			{"Jitter", us(0.01), us(0.5), Assumed, srcDVSite, "a deflected packet goes round again"},
			{"Loss", 0, 1e-12, Stated, srcDVSite, "congestion deflects, it does not drop"},
			{"Reorder", 0, 0.01, Assumed, srcDVSite, "packets that are deflected often"},
			{"ReorderBy", us(0.1), us(10), Assumed, srcDVSite, "several rounds"},
			{"InOrder", 0, 0, Inferred, srcDVSite, "no: words are routed one by one and may be deflected"},
			{"Multicast", 0, 0, Inferred, srcDVSite, "no: none is described"},
			{"Lossless", 0, 0, Stated, srcDVSite, ""},
			{"OneSided", 0, 0, Stated, srcGioiosa, "words are written to the remote adapter's memory"},
			{"Unsynchronised", 0, 0, Inferred, srcGioiosa, "no clock of the fabric is described"},
		},
		NotCovered: []string{
			"routes, deflection and contention at the receiver: latency is drawn, whatever else is under way",
			"that words of one frame arrive in any order; a frame arrives as a whole",
			"group counters, the surprise FIFO and the size of the adapter's memory",
			"PCIe as a bottleneck of its own, and DMA against programmed writes",
		},
	}
}

// ibRC: reliable connections.
func ibRC() Model {
	return Model{
		Name:  "ib-rc",
		About: "InfiniBand EDR 4x, reliable connections, RDMA writes, both hosts at one switch, receivers that poll",
		Medium: Medium{
			Name: "ib-rc", Rate: 12_500_000_000, PayloadBytes: 4096, HeaderBytes: 42, SendCost: 200 * time.Nanosecond, ReceiveCost: 200 * time.Nanosecond,
			InOrder: true, Lossless: true, OneSided: true, Unsynchronised: true,
		},
		Faults: Faults{Delay: 510 * time.Nanosecond, Jitter: 50 * time.Nanosecond, Reorder: 1e-3, ReorderBy: 5 * time.Microsecond},
		Figures: []Figure{
			{"Rate", 12.1e9, 12.5e9, Stated, srcEDR, "4 lanes of 25 Gbit/s; Potter's 32 KiB less 4 KiB take 12.5 GB/s"},
			{"PayloadBytes", 256, 4096, Stated, srcIBTA, "the MTU; 4096 is the largest"},
			{"HeaderBytes", 26, 46, Stated, srcIBTA, "LRH 8, BTH 12, RETH 16 (first packet of a write), ICRC 4, VCRC 2"},
			{"SendCost", us(0.1), us(0.4), Inferred, srcPotter, "together with Delay and ReceiveCost 0.83 µs, and a switch"},
			{"ReceiveCost", us(0.1), us(0.4), Inferred, srcPotter, "as SendCost; polling, no wake-up"},
			{"Delay", us(0.4), us(1.5), Inferred, srcPotter, "the rest of 0.83 µs and 0.09 µs for a switch, which its vendor states"},
			{"Jitter", us(0.01), us(0.5), Assumed, srcPotter, "tuned hosts that do nothing else"},
			{"Loss", 0, 1e-9, Stated, srcIBTA, "credits: nothing is sent that has no room; bit errors are sent again by the adapter"},
			{"Reorder", 0, 0.01, Assumed, srcPotter, "the tail of hosts that are not isolated"},
			{"ReorderBy", us(1), us(100), Assumed, srcPotter, "as Reorder"},
			{"InOrder", 0, 0, Stated, srcIBTA, "within a connection"},
			{"Multicast", 0, 0, Stated, srcIBTA, "no: datagrams only"},
			{"Lossless", 0, 0, Stated, srcIBTA, "a connection that cannot deliver breaks"},
			{"OneSided", 0, 0, Stated, srcIBTA, ""},
			{"Unsynchronised", 0, 0, Inferred, srcIBTA, "adapters have clocks, the fabric does not set them"},
		},
		NotCovered: []string{
			"congestion inside of the network: hosts share the wire at the sender, nothing in the switch or at the receiver",
			"limits of the adapter: queue pairs that fall out of its cache, messages per second, outstanding reads",
			"a broken connection, which takes milliseconds to set up again",
			"receivers that sleep: add the wake-up to ReceiveCost",
		},
	}
}

// sharp: multicast and reduction in the switches.
func sharp() Model {
	return Model{
		Name:  "sharp",
		About: "InfiniBand EDR with aggregation in its switches (SHARP): a member's word reaches all others through the tree of switches, in the time of a published MPI_Allreduce",
		Medium: Medium{
			Name: "sharp", Rate: 12_500_000_000, PayloadBytes: 256, HeaderBytes: 74, SendCost: 250 * time.Nanosecond, ReceiveCost: 250 * time.Nanosecond,
			Multicast: true, InOrder: true, Unsynchronised: true,
		},
		Faults: Faults{Delay: 2320 * time.Nanosecond, Jitter: 200 * time.Nanosecond, Reorder: 1e-3, ReorderBy: 5 * time.Microsecond},
		Figures: []Figure{
			{"Rate", 12.1e9, 12.5e9, Stated, srcEDR, "4 lanes of 25 Gbit/s"},
			{"PayloadBytes", 64, 4096, Inferred, srcSHArP, "one aggregation of the latency-optimised kind; larger ones are cut and pipelined (4096 bytes: 14.48 µs)"},
			{"HeaderBytes", 34, 90, Stated, srcIBTA, "LRH 8, GRH 40 (multicast), BTH 12, DETH 8, ICRC 4, VCRC 2; what the aggregation adds was not at hand"},
			{"SendCost", us(0.1), us(0.5), Inferred, srcSHArP, "a share of 2.83 µs"},
			{"ReceiveCost", us(0.1), us(0.5), Inferred, srcSHArP, "a share of 2.83 µs"},
			{"Delay", us(0.8), us(3), Inferred, srcSHArP, "the rest of 2.83 µs for 8 bytes: up and down the tree of 128 hosts; a few members at one switch take less"},
			{"Jitter", us(0.01), us(1), Assumed, srcBloch, "the paper studies the spread over processes; its figures were not at hand"},
			{"Loss", 0, 1e-9, Inferred, srcIBTA, "links lose nothing; a datagram is dropped where no buffer is posted"},
			{"Reorder", 0, 0.01, Assumed, srcBloch, "the tail of hosts that are not isolated"},
			{"ReorderBy", us(1), us(100), Assumed, srcBloch, "as Reorder"},
			{"Multicast", 0, 0, Stated, srcBloch, "results go out by UD multicast"},
			{"InOrder", 0, 0, Inferred, srcIBTA, "one route for each group, without adaptive routing"},
			{"Lossless", 0, 0, Inferred, srcIBTA, "no: datagrams"},
			{"Unsynchronised", 0, 0, Inferred, srcIBTA, "as ib-rc"},
		},
		NotCovered: []string{
			"the reduction itself: switches that compute. A member gets the n−1 words of the others and combines them; on the fabric it gets one, already combined, after all have sent",
			"so neither the synchronisation that an aggregation implies, nor that it saves n−2 words at each receiver",
			"building groups and trees, the number of groups and of aggregations under way",
			"rows by multicast: a row goes to each member by itself",
		},
	}
}
