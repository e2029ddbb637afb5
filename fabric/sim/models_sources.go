package sim

// How much of a source was read.
const (
	readAll      = "read"
	readPart     = "read: the place named"
	readStart    = "read: its beginning"
	readAbstract = "read: title and abstract"
	notReadAgain = "not read again"
)

// The sources of all models.
var (
	srcOwn = Source{"this project's own measurement: round trips of 256 bytes between two network namespaces of one machine with two shared processors, Linux 6.18, medians: UDP sockets 22 to 30 µs, a spinning receiver 6.4 to 7.5 µs", readAll}
	// srcChoice is for what is configured, not found.
	srcChoice = Source{"a choice: the fabric leaves it to whoever configures it", readAll}

	srcGioiosa = Source{"R. Gioiosa, A. Tumeo, J. Yin, T. Warfel, D. Haglin, S. Betelu: Exploring DataVortex Systems for Irregular Applications, IEEE IPDPS 2017", "read: the first page; figures not read again"}
	srcDVSite  = Source{"Data Vortex Technologies: What is the Data Vortex Switch?, datavortex.com/switch", readStart}

	srcPotter = Source{"D. Potter: master's thesis on InfiniBand in VILLASnode, RWTH Aachen, 2018, table of ib_send_lat by MTU (two ConnectX-4 of 100 Gbit/s, 0.5 m of copper, no switch): RC, 32 bytes 0.83 µs, 4 KiB 2.3 µs, 32 KiB 4.6 µs", readPart}
	srcIBTA   = Source{"InfiniBand Trade Association: InfiniBand Architecture Specification, volume 1, release 1.3, chapters 5, 7 and 9", "read: summaries of its packet formats"}
	srcEDR    = Source{"Mellanox: SB7800 and SB7890 switch systems, user manual rev. 1.7, §4.1.2", readPart}
	srcSHArP  = Source{"R. Graham et al.: Scalable Hierarchical Aggregation Protocol (SHArP), COMHPC at SC 2016: MPI_Allreduce on 128 hosts, 8 bytes 2.83 µs, 4096 bytes 14.48 µs", readAbstract}
	srcBloch  = Source{"G. Bloch, D. Bureddy, R. Graham, G. Shainer, B. Smith: Towards A Data Centric System Architecture: SHARP, Supercomputing Frontiers and Innovations 4(4), 2017: results by UD multicast, 16% less latency on 128 nodes", readAbstract}

	src8023     = Source{"IEEE Std 802.3-2018, clauses 3 and 4 (preamble 8, header and checksum 18, gap 12, frames of 64 to 1518 bytes), clause 107 (25 Gbit/s, bit error ratio 1e-12)", notReadAgain}
	srcIP       = Source{"RFC 791 (header of 20 bytes), RFC 768 (8 bytes)", notReadAgain}
	srcERPC     = Source{"A. Kalia, M. Kaminsky, D. Andersen: Datacenter RPCs can be General and Fast, NSDI 2019, and the README of eRPC: round trips of 2.3 µs by UDP over Ethernet, hosts included", "read: abstract and README"}
	srcPingmesh = Source{"C. Guo et al.: Pingmesh, SIGCOMM 2015, figure 4 and table 1: round trips in a data center P50 0.2 to 0.3 ms, P99 1.3 ms; drop rates 1e-5 to 1e-4", "read: the first page; figures not read again"}

	srcAS6802 = Source{"SAE AS6802: Time-Triggered Ethernet, 2011, reaffirmed 2016", "read: the scope"}
	srcTTE    = Source{"G. Agarwal: Time-Triggered Ethernet (AS6802/TTE), public notes: 100 Mbit/s and 1 Gbit/s, synchronised to less than 1 µs", readStart}

	srcFuller = Source{"S. Fuller: RapidIO, The Next Generation Communication Fabric for Embedded Application, Wiley 2005, §2.4 (1 to 256 bytes), §4.6 (a streaming write has 10 bytes of header and CRC), §2.15 (packetising takes in the order of 100 ns)", readPart}
	srcCPS    = Source{"IDT: CPS-1432, RapidIO Gen2 switch, product page (4 lanes of 6.25 GBd: 20 Gbit/s) and data sheet, §13 (bit error ratio below 1e-15 per lane)", readPart}
	srcRIO    = Source{"RapidIO Interconnect Specification, part 6, LP-Serial: 8b/10b up to 6.25 GBd per lane, 64b/67b above; part 11, Multicast", "read: summaries"}
	srcRIOEth = Source{"RapidIO vs. Ethernet, A Practical Technical Comparison, EmbeddedTech Magazine 2008, page 3: links retry, switches may not drop", readPart}

	srcY1541 = Source{"ITU-T Y.1541 (12/2011), table 1, class 0: mean transfer delay 100 ms, delay variation 50 ms, loss ratio 1e-3 at most", notReadAgain}
	srcG652  = Source{"ITU-T G.652: group index of standard fibre about 1.468, so 4.9 µs/km", notReadAgain}
	srcHaq   = Source{"O. Haq, M. Raja, F. Dogar: Measuring and Improving the Reliability of Wide-Area Cloud Paths, WWW 2017: paths between data centers of one provider lose and vary ten times less than the public Internet", readAbstract}
)
