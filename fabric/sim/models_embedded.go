package sim

import "time"

// rapidIO: boards in a chassis.
func rapidIO() Model {
	return Model{
		Name:  "rapidio",
		About: "Serial RapidIO Gen2, ports of 4 lanes at 6.25 GBd (8b/10b), streaming writes, one switch in a chassis",
		Medium: Medium{
			Name: "rapidio", Rate: 2_500_000_000, PayloadBytes: 256, HeaderBytes: 16, MinPacket: 16, SendCost: 300 * time.Nanosecond, ReceiveCost: 300 * time.Nanosecond,
			Multicast: true, InOrder: true, Lossless: true, OneSided: true, Unsynchronised: true,
		},
		Faults: Faults{Delay: 310 * time.Nanosecond, Jitter: 50 * time.Nanosecond, Reorder: 1e-4, ReorderBy: 2 * time.Microsecond},
		Figures: []Figure{
			{"Rate", 1e9, 5e9, Stated, srcCPS, "4 × 6.25 GBd × 8/10. At 10.3125 GBd with 64b/67b (Gen3) it would be 4.92 GB/s"},
			{"PayloadBytes", 256, 256, Stated, srcFuller, ""},
			{"HeaderBytes", 10, 28, Inferred, srcFuller, "10 of a streaming write, 2 of the second CRC of long packets, 4 of the control symbol between packets; 16-bit ids take 2 more, other writes more"},
			{"MinPacket", 12, 24, Inferred, srcFuller, "header alone"},
			{"SendCost", us(0.1), us(2), Assumed, srcFuller, "one write to a memory-mapped adapter; over a PCIe bridge more"},
			{"ReceiveCost", us(0.1), us(5), Assumed, srcFuller, "polling; an interrupt takes more"},
			{"Delay", us(0.2), us(2), Inferred, srcFuller, "packetising in the order of 100 ns at each end, and a cut-through switch of some 110 ns"},
			{"Jitter", us(0.01), us(0.2), Inferred, srcFuller, "a packet of 256 bytes in the way takes 0.11 µs"},
			{"Loss", 0, 1e-9, Stated, srcRIOEth, "each link acknowledges and retries"},
			{"Reorder", 0, 1e-3, Assumed, srcCPS, "packets that are retried or find no room; bit errors alone are rarer by far"},
			{"ReorderBy", us(0.1), us(10), Assumed, srcRIOEth, "one retry"},
			{"InOrder", 0, 0, Stated, srcRIO, "within a priority"},
			{"Multicast", 0, 0, Stated, srcRIO, "switches copy; for writes without a response"},
			{"Lossless", 0, 0, Stated, srcRIOEth, ""},
			{"OneSided", 0, 0, Stated, srcFuller, "writes to the remote memory"},
			{"Unsynchronised", 0, 0, Inferred, srcRIO, "Gen2 distributes events, not time"},
		},
		NotCovered: []string{
			"priorities and their deadlock rules, virtual channels, flow control between switches",
			"that a write needs an address: mailboxes and doorbells are taken as part of the costs",
			"several switches, and receivers that two senders write to at once",
			"the Gen3 rate with 64b/67b: change Rate",
		},
	}
}
