package raftdv

import (
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"time"

	"github.com/raftdv/dv/fabric/shm"
	"github.com/raftdv/dv/raftdv/election"
)

// The names of the fabrics that a transport can use, best first.
const (
	FabricShm    = "shm"
	FabricUDP    = "udp"
	FabricStream = "stream"
)

// roadRafthttp is the name of the road that is no fabric of ours.
const roadRafthttp = "rafthttp"

var knownFabrics = []string{FabricShm, FabricUDP, FabricStream}

// Config holds what a Transport has beyond rafthttp's own fields. The zero
// value stands for the defaults.
type Config struct {
	// Require: never fall back to rafthttp. Messages to a peer that no fabric
	// reaches are dropped and reported unreachable. Default false.
	Require bool
	// Fabrics are tried in this order. Default: shm if there is a ShmDir, udp,
	// stream.
	Fabrics []string
	// ShmDir is the directory where members of this host meet that use shared
	// memory with each other, on a local file system and the same for all of
	// them. They run as one user; it is made with mode 0700. Default none: no
	// shared memory.
	ShmDir string
	// ListenUDP is the host:port that the udp fabric binds. Default:
	// PeerListener, and if that cannot be bound its port on all addresses;
	// none if no peer URL has that port and AdvertiseUDP is not given: then
	// peers come through a proxy or a port mapping that may not pass udp.
	ListenUDP string
	// PeerListener is the host:port on which peers reach Handler, as far as the
	// transport needs to know. Default: that of the first of Transport.URLs.
	PeerListener string
	// AdvertiseUDP is the host:port that peers send to. Default: the port as
	// bound at the host of the peer URL.
	AdvertiseUDP string
	// TrustFabric: side fabrics whose address was given explicitly are their
	// own proof of life; otherwise they obey the peer URL. Default false.
	TrustFabric bool
	// ControlTimeout is the silence of a control stream after which side
	// fabrics are given up. Default 1s.
	ControlTimeout time.Duration
	// IncarnationFile keeps the incarnation across restarts. Default: none;
	// then the clock alone makes incarnations rise.
	IncarnationFile string
	// StockRetry is the pause before a peer that spoke rafthttp only is asked
	// again, and before its name is looked up again. Default 2s.
	StockRetry time.Duration
	// TicketTimeout bounds how long a frame may stay without an ack before it
	// is reported lost. Default 2s.
	TicketTimeout time.Duration
	// Spin is how long the receivers of udp and shm poll before they block.
	// Default: udp 0, shm 20µs where it pays. Negative: never.
	Spin time.Duration
	// SnapshotWindow bounds the snapshot bytes in flight to one receiver, which
	// both ends hold in memory. Default 8 MiB.
	SnapshotWindow int
	// SnapshotStall is how long a snapshot may make no progress, lost
	// connections included, before it fails. Default 15s.
	SnapshotStall time.Duration
	// Elections says whether elections are arbitrated, so that they end in at
	// most three rounds: election.Off, Observe or On. Default Off. It needs
	// Members, and a raft that reads with ReadOnlySafe: a campaign that the
	// arbiter starts passes by leader leases.
	Elections election.Mode
	// Members returns the configuration that raft has applied; it is asked
	// several times a second, by a goroutine of the transport. Default none:
	// elections are raft's own.
	Members func() election.Members
	// Position returns the term and the id of the last entry of this member's
	// log, before raft is started. Default unknown: until raft has shown it, this
	// member is not nominated.
	Position func() (term, lastTerm, lastIndex uint64)
	// ElectionTimeout, PreVote and CheckQuorum are those of raft.Config.
	// Defaults 1s (ElectionTick × tick), false, false. With an ElectionTimeout below
	// 300ms elections are raft's own.
	ElectionTimeout      time.Duration
	PreVote, CheckQuorum bool
	// ViewFile keeps this member's votes on views across restarts. It may not be there:
	// then the member never ran before; do not delete it otherwise. Default none:
	// the member takes part in no view, and relays nothing.
	ViewFile string
	// Delivery says what of raft's traffic travels in the agreed order. Default
	// DeliveryAuto.
	Delivery Delivery
	// Agreed, if not nil, is called with each message in the agreed order, one after
	// the other. While it does not return, no further ones are delivered.
	Agreed func(AgreedMessage)
	// Beat is how often a member publishes its row at least while agreed frames are
	// under way or a view changes. Default 10ms, 1ms to 16ms.
	Beat time.Duration
	// NoRelays: no connection is made by way of other members, or for them. Default
	// false: members that cannot reach each other do so by others that can.
	NoRelays bool
	// ProposalQueue bounds the forwarded proposals of one peer that wait for
	// raft to take them. Default 4096, as rafthttp.
	ProposalQueue int
}

const (
	defaultControlTimeout = time.Second
	defaultStockRetry     = 2 * time.Second
	defaultTicketTimeout  = 2 * time.Second
	defaultSnapshotWindow = 8 << 20
	minSnapshotWindow     = 4 * snapshotChunk
	defaultSnapshotStall  = 15 * time.Second
	defaultProposalQueue  = 4096
	// defaultElectionTimeout is etcd's.
	defaultElectionTimeout = time.Second
	defaultBeat            = 10 * time.Millisecond
	minBeat, maxBeat       = time.Millisecond, 16 * time.Millisecond
	// dialEvery is rafthttp's default for DialRetryFrequency.
	dialEvery = 100 * time.Millisecond
)

func (c Config) withDefaults() Config {
	if len(c.Fabrics) == 0 {
		c.Fabrics = DefaultFabrics(c.ShmDir)
	}
	orDuration(&c.ControlTimeout, defaultControlTimeout)
	orDuration(&c.StockRetry, defaultStockRetry)
	orDuration(&c.TicketTimeout, defaultTicketTimeout)
	orDuration(&c.SnapshotStall, defaultSnapshotStall)
	orDuration(&c.ElectionTimeout, defaultElectionTimeout)
	orDuration(&c.Beat, defaultBeat)
	if c.SnapshotWindow == 0 {
		c.SnapshotWindow = defaultSnapshotWindow
	}
	if c.ProposalQueue == 0 {
		c.ProposalQueue = defaultProposalQueue
	}
	return c
}

// DefaultFabrics is the default of Config.Fabrics.
func DefaultFabrics(shmDir string) []string {
	if shmDir == "" {
		return []string{FabricUDP, FabricStream}
	}
	return slices.Clone(knownFabrics)
}

func orDuration(d *time.Duration, def time.Duration) {
	if *d == 0 {
		*d = def
	}
}

// Validate returns all faults at once, each with its remedy.
func (c Config) Validate() error {
	c = c.withDefaults()
	var errs []error
	for i, name := range c.Fabrics {
		if !slices.Contains(knownFabrics, name) {
			errs = append(errs, fmt.Errorf("Fabrics: %q is unknown: list any of %v", name, knownFabrics))
		}
		if slices.Contains(c.Fabrics[:i], name) {
			errs = append(errs, fmt.Errorf("Fabrics: %q is listed twice: name it once", name))
		}
	}
	for _, d := range []struct {
		name string
		got  time.Duration
	}{
		{"ControlTimeout", c.ControlTimeout},
		{"StockRetry", c.StockRetry},
		{"TicketTimeout", c.TicketTimeout},
		{"SnapshotStall", c.SnapshotStall},
		{"ElectionTimeout", c.ElectionTimeout},
	} {
		if d.got < 0 {
			errs = append(errs, fmt.Errorf("%s is %v: use a positive duration, or 0 for the default", d.name, d.got))
		}
	}
	if c.Beat < minBeat || c.Beat > maxBeat {
		errs = append(errs, fmt.Errorf("Beat is %v: use %v to %v", c.Beat, minBeat, maxBeat))
	}
	if c.Delivery > DeliveryAgreed {
		errs = append(errs, fmt.Errorf("Delivery is %v: use auto or agreed", c.Delivery))
	}
	if c.SnapshotWindow < minSnapshotWindow {
		errs = append(errs, fmt.Errorf("SnapshotWindow is %d: use at least %d bytes", c.SnapshotWindow, minSnapshotWindow))
	}
	if c.ProposalQueue < 1 {
		errs = append(errs, fmt.Errorf("ProposalQueue is %d: use at least 1", c.ProposalQueue))
	}
	if c.TrustFabric && c.ListenUDP == "" && c.AdvertiseUDP == "" && c.ShmDir == "" {
		errs = append(errs, errors.New("TrustFabric holds for addresses that were given only: set ListenUDP, AdvertiseUDP or ShmDir"))
	}
	if c.Elections > election.On {
		errs = append(errs, fmt.Errorf("Elections is %v: use off, observe or on", c.Elections))
	}
	if c.Elections != election.Off && c.Members == nil {
		errs = append(errs, errNoMembers)
	}
	errs = append(errs, c.validShm())
	return errors.Join(errs...)
}

func (c *Config) validShm() error {
	listed := slices.Contains(c.Fabrics, FabricShm)
	switch {
	case c.ShmDir == "" && listed:
		return errors.New("Fabrics: shm needs the directory where members meet: set ShmDir")
	case c.ShmDir == "":
		return nil
	case !listed:
		return errors.New("ShmDir is set while Fabrics does not list shm: add shm or drop the directory")
	}
	return ValidShmDir(c.ShmDir)
}

// ValidShmDir checks what can be checked of a Config.ShmDir before there is a
// member.
func ValidShmDir(dir string) error {
	if !filepath.IsAbs(dir) {
		return fmt.Errorf("ShmDir is %q: use an absolute path", dir)
	}
	longest := shm.Config{Self: math.MaxUint64, Dir: dir}
	return longest.Validate()
}
