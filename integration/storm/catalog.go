package storm

import "slices"

// A Transport is what carries raft's messages in a trial, and with which settings of
// raft. The ablations leave one thing out of dv.
type Transport struct {
	Name, About string
	// Arbiter, RowAcks, Retransmit and Relays are what of dv is there.
	Arbiter, RowAcks, Retransmit, Relays bool
	// LAN: heartbeat and election are a tenth of what the matrix says, as etcd's tuning
	// guide has it for a local network.
	LAN bool
}

// Transports are all of them.
func Transports() []Transport {
	return []Transport{
		{Name: "stock", About: "raft's own elections, every message over connections that send again what is lost", Retransmit: true},
		{Name: "stock-lan", About: "the same with heartbeat and election at a tenth: raft tuned for a local network (etcd's tuning guide, time parameters)", Retransmit: true, LAN: true},
		{Name: "dv", About: "acknowledged frames, acks in rows, the arbiter, relays", Arbiter: true, RowAcks: true, Retransmit: true, Relays: true},
		{Name: "dv-no-arbiter", About: "dv with raft's own elections", RowAcks: true, Retransmit: true, Relays: true},
		{Name: "dv-no-retransmission", About: "dv that does not send again what is lost", Arbiter: true, RowAcks: true, Relays: true},
		{Name: "dv-no-relays", About: "dv without views: members reach each other directly or not at all", Arbiter: true, RowAcks: true, Retransmit: true},
		{Name: "dv-no-row-acks", About: "dv with acks in messages, as raft has them", Arbiter: true, Retransmit: true, Relays: true},
	}
}

// TransportNames are the names of all of them.
func TransportNames() (names []string) {
	for _, t := range Transports() {
		names = append(names, t.Name)
	}
	return names
}

// A Fault is what goes wrong in a trial. Source is the incident or paper that it comes
// from.
type Fault struct {
	Name, About, Source string
	// Least is how many members it takes.
	Least int
}

// Faults are all of them.
func Faults() []Fault {
	return []Fault{
		{"none", "nothing", "the baseline of all others", 1},
		{"crash-leader", "the leader's machine crashes; with crashes of 2 and more, so does whoever is about to lead, at a phase that the seed draws", "Ongaro and Ousterhout, In Search of an Understandable Consensus Algorithm, USENIX ATC 2014, §9.3", 3},
		{"crash-at-suspicion", "the leader crashes; whoever first suspects it crashes then", "the phases of an election, docs/elections.md", 3},
		{"crash-at-endorsement", "the leader crashes; a nominee does when it is endorsed", "the phases of an election, docs/elections.md", 3},
		{"crash-at-nomination", "the leader crashes; a nominee does when it learns that it is one", "the phases of an election, docs/elections.md", 3},
		{"crash-at-campaign", "the leader crashes; a nominee does when it asks for votes", "the phases of an election, docs/elections.md", 3},
		{"crash-at-victory", "the leader crashes; a nominee does when it has won", "the phases of an election, docs/elections.md", 3},
		{"simultaneous-start", "all members start at the same moment, their clocks in step", "Ongaro, Consensus: Bridging Theory and Practice, 2014, §3.4 on split votes", 1},
		{"rejoin-higher-term", "a follower that was cut off for three election timeouts comes back; without PreVote its term rose meanwhile", "Ongaro 2014, §9.6; what PreVote is for", 3},
		{"flapping-after-isolation", "the leader was cut off; its links come and go afterwards", "Cloudflare, A Byzantine failure in the real world, 2020-11-27", 3},
		{"simplex-leader", "the leader is heard and hears nobody", "Alfatafta et al., Toward a Generic Fault Tolerance Technique for Partial Network Partitioning, OSDI 2020", 3},
		{"quorum-loss", "all links are cut but those of one follower", "Ng et al., Omni-Paxos, EuroSys 2023, §2", 3},
		{"constrained", "the only member that still reaches a majority lags", "Ng et al., Omni-Paxos, EuroSys 2023, §2", 3},
		{"chained", "the leader loses one follower, who is still heard by others", "Ng et al., Omni-Paxos, EuroSys 2023, §2; Cloudflare 2020", 3},
		{"rotating-hub", "all links are cut but those of one member, every second another one", "Ng et al., Omni-Paxos, EuroSys 2023, generalised", 3},
		{"slow-disk", "the leader's disk takes a hundred times as long", "Gunawi et al., Fail-Slow at Scale, FAST 2018", 1},
		{"synchronised-timeouts", "the leader crashes when all election timeouts are equal and all clocks in step; what is drawn later is random", "Ongaro 2014, §3.4 on why they are random", 3},
		{"term-inflation", "one member campaigns again and again, whoever leads, until it leads itself; PreVote and leases do not count for it", "etcd issues on disruptive servers; Ongaro 2014, §4.2.3", 3},
		{"rolling-restart", "members are restarted one after the other, the leader last", "etcd's upgrade guides", 3},
		{"asymmetric-delay", "what the leader sends takes ten times as long, and half a heartbeat more, what it is sent does not", "Alfatafta et al., OSDI 2020, on partial degradation", 2},
	}
}

func transportOf(name string) Transport {
	all := Transports()
	return all[slices.IndexFunc(all, func(t Transport) bool { return t.Name == name })]
}

func faultOf(name string) Fault {
	all := Faults()
	return all[slices.IndexFunc(all, func(f Fault) bool { return f.Name == name })]
}

// FaultNames are the names of all of them.
func FaultNames() (names []string) {
	for _, f := range Faults() {
		names = append(names, f.Name)
	}
	return names
}
