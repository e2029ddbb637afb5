package raftdv

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/raftdv/dv/fabric"
	"github.com/raftdv/dv/raftdv/election"
)

// DebugPath is where a server shows the state of its transports.
const DebugPath = "/debug/dv"

// State is what a transport knows of itself and its peers: no keys and no
// contents of messages. Ids are in hexadecimal.
type State struct {
	Member      string    `json:"member"`
	Cluster     string    `json:"cluster"`
	Incarnation uint64    `json:"incarnation"`
	Started     time.Time `json:"started"`
	WireMin     int       `json:"wire_min"`
	WireMax     int       `json:"wire_max"`
	Require     bool      `json:"require"`
	Liveness    string    `json:"liveness"`
	// Features that every member of the cluster has.
	ClusterFeatures []string      `json:"cluster_features"`
	Fabrics         []FabricState `json:"fabrics"`
	// Elections is absent where nobody tells the transport who the members are.
	Elections *ElectionState `json:"elections,omitempty"`
	Order     *OrderState    `json:"order,omitempty"`
	// Relays is absent where they are switched off.
	Relays *RelayState `json:"relays,omitempty"`
	Peers  []PeerState `json:"peers"`
}

// ElectionState is what a member knows of elections.
type ElectionState struct {
	// Mode is the one in force, Wanted the one that was set, and Why says what
	// stands between the two.
	Mode   string `json:"mode"`
	Wanted string `json:"wanted"`
	Why    string `json:"why,omitempty"`
	// Term is the highest that is known, Claimant who leads in it, if Leads, or
	// campaigns; "" if nobody.
	Term     uint64 `json:"term"`
	Claimant string `json:"claimant,omitempty"`
	Leads    bool   `json:"leads"`
	// Suspects: this member suspects the claimant. Electing: an election is on.
	Suspects bool `json:"suspects"`
	Electing bool `json:"electing"`
	// Abstains is why this member would endorse nobody now, "" if it would.
	Abstains string `json:"abstains,omitempty"`
	// Held counts the messages that are kept from raft now.
	Held int `json:"held"`
	// Elections counts those that this member saw from their start to a leader,
	// FalseSuspicions the members that it suspected and that lived.
	Elections       uint64        `json:"elections"`
	FalseSuspicions uint64        `json:"false_suspicions"`
	Last            *LastElection `json:"last,omitempty"`
}

// RelayState is what a member relays for others.
type RelayState struct {
	// Open counts the connections that it keeps now, Made those since its start, Bytes
	// what those that have ended passed on.
	Open  int    `json:"open"`
	Made  uint64 `json:"made"`
	Bytes uint64 `json:"bytes"`
}

// FabricState is one fabric of a member.
type FabricState struct {
	Name     string `json:"name"`
	Address  string `json:"address,omitempty"`
	MaxFrame int    `json:"max_frame,omitempty"`
	// Error says why it cannot be used.
	Error string `json:"error,omitempty"`
}

// PeerState is one peer as a member sees it.
type PeerState struct {
	Member string   `json:"member"`
	URLs   []string `json:"urls"`
	// Path is the road that messages to this peer take.
	Path        string     `json:"path"`
	ActiveSince *time.Time `json:"active_since,omitempty"`
	Paused      bool       `json:"paused,omitempty"`
	Incarnation uint64     `json:"incarnation,omitempty"`
	Wire        int        `json:"wire,omitempty"`
	Features    []string   `json:"features,omitempty"`
	// Proven: the one that receives our frames showed that it owns the peer URL.
	Proven bool `json:"proven"`
	// Sealed: the control stream runs over TLS.
	Sealed bool `json:"sealed"`
	// DialError is why there is no control stream to the peer's URL.
	DialError string `json:"dial_error,omitempty"`
	// SideError is why no side fabric has a session with this peer.
	SideError string `json:"side_error,omitempty"`
	// Suspected: it was not heard for SuspectAfter (in milliseconds, adapted to
	// the pauses that were observed), or its connection was closed.
	Suspected    bool    `json:"suspected"`
	SuspectAfter float64 `json:"suspect_after_ms"`
	// Linked: this member and the peer hear each other without a relay.
	Linked bool `json:"linked"`
	// Relay is the member by which the peer is reached, or was asked for, "" if none is.
	Relay string `json:"relay,omitempty"`
	// RelayError is why the last relay could not be had.
	RelayError string `json:"relay_error,omitempty"`
	// ElectionMode is what the peer says of its arbiter.
	ElectionMode string          `json:"election_mode,omitempty"`
	Links        []PeerLinkState `json:"links"`
}

// PeerLinkState is a peer's link on one fabric.
type PeerLinkState struct {
	Fabric string `json:"fabric"`
	Up     bool   `json:"up"`
	// Down says why.
	Down            string      `json:"down,omitempty"`
	RTT             float64     `json:"rtt_us"`
	BytesSent       uint64      `json:"bytes_sent"`
	BytesReceived   uint64      `json:"bytes_received"`
	Retransmissions uint64      `json:"retransmissions"`
	Refused         uint64      `json:"refused"`
	Lanes           []LaneState `json:"lanes"`
}

// LaneState is one lane of a link.
type LaneState struct {
	Lane        string `json:"lane"`
	Sent        uint64 `json:"sent"`
	Delivered   uint64 `json:"delivered"`
	Lost        uint64 `json:"lost"`
	NoCredit    uint64 `json:"no_credit"`
	Queued      int    `json:"queued"`
	QueuedBytes int    `json:"queued_bytes"`
	CreditBytes int    `json:"credit_bytes"`
}

// Names spells a feature set out; bits that are not known as numbers.
func (f Feature) Names() []string {
	names := []string{}
	for _, n := range []struct {
		bit  Feature
		name string
	}{{FeatureRowAcks, "row-acks"}, {FeatureSnapshots, "snapshots"}, {FeatureElections, "elections"}, {FeatureRelays, "relays"}} {
		if f&n.bit != 0 {
			names = append(names, n.name)
			f &^= n.bit
		}
	}
	if f != 0 {
		names = append(names, fmt.Sprintf("%#x", uint64(f)))
	}
	return names
}

// ClusterFeatures are the features that this member and all its peers have:
// what needs all members is used only if its bit is in here.
func (t *Transport) ClusterFeatures() Feature {
	all := ownFeatures
	for _, p := range *t.peers.Load() {
		all &= Feature(p.speaks.Load())
	}
	return all
}

// State describes the transport now.
func (t *Transport) State() State {
	s := State{
		Member: t.ID.String(), Cluster: t.ClusterID.String(), Incarnation: t.incarnation, Started: t.started,
		WireMin: wireMin, WireMax: wireMax, Require: t.cfg.Require, Liveness: "peer-url",
		ClusterFeatures: t.ClusterFeatures().Names(), Fabrics: []FabricState{}, Peers: []PeerState{},
	}
	if t.cfg.TrustFabric {
		s.Liveness = "fabric"
	}
	links := make([]map[fabric.MemberID]fabric.LinkStats, len(t.roads))
	for i, r := range t.roads {
		s.Fabrics = append(s.Fabrics, FabricState{Name: r.name, Address: r.addr, MaxFrame: r.caps.MaxFrame, Error: errorText(r.err)})
		links[i] = map[fabric.MemberID]fabric.LinkStats{}
		if reporter, ok := r.port.(fabric.StatsReporter); ok {
			for _, l := range reporter.Stats(nil) {
				links[i][l.Peer] = l
			}
		}
	}
	for _, p := range t.sortedPeers() {
		s.Peers = append(s.Peers, p.state(links))
	}
	t.elections.describe(&s)
	t.ordering.describe(&s)
	if !t.cfg.NoRelays {
		s.Relays = &RelayState{t.relays.count(), t.relays.opened.Load(), t.relays.bytes.Load()}
	}
	return s
}

func (p *peer) state(links []map[fabric.MemberID]fabric.LinkStats) PeerState {
	s := PeerState{
		Member: p.id.String(), URLs: p.urls.all(), Path: p.pathName(), Paused: p.paused.Load(),
		Incarnation: p.incarnation(), Features: Feature(p.speaks.Load()).Names(), Links: []PeerLinkState{},
	}
	if since := p.activeSince(); !since.IsZero() {
		s.ActiveSince = &since
	}
	s.Proven = p.provenStreamAlive()
	p.relay.mu.Lock()
	if open(p.relay.done) {
		s.Relay = p.relay.via.String()
	}
	s.RelayError = errorText(p.relay.err)
	p.relay.mu.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	s.Wire, s.DialError, s.SideError = p.wire, p.dialErr, errorText(p.sideErr)
	s.Sealed = p.in != nil && p.in.sealed
	for _, r := range p.t.roads {
		if r.port == nil {
			continue
		}
		l := links[r.index][p.member]
		ls := PeerLinkState{
			Fabric: r.name, Up: p.up[r.index], Down: errorText(p.downWhy[r.index]), RTT: float64(l.RTT) / float64(time.Microsecond),
			BytesSent: l.BytesSent, BytesReceived: l.BytesReceived, Retransmissions: l.Retransmissions, Refused: l.Refused,
		}
		for i, lane := range l.Lane {
			ls.Lanes = append(ls.Lanes, LaneState{
				Lane: fabric.Lane(i).String(), Sent: lane.Sent, Delivered: lane.Delivered, Lost: lane.Lost, NoCredit: lane.NoCredit,
				Queued: lane.Queued, QueuedBytes: lane.QueuedBytes, CreditBytes: lane.CreditBytes,
			})
		}
		s.Links = append(s.Links, ls)
	}
	return s
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func (u *urlPicker) all() []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.urls.StringSlice()
}

// running are the transports of this process, for States.
var running struct {
	sync.Mutex
	list []*Transport
}

func register(t *Transport) {
	running.Lock()
	defer running.Unlock()
	running.list = append(running.list, t)
}

func unregister(t *Transport) {
	running.Lock()
	defer running.Unlock()
	running.list = slices.DeleteFunc(running.list, func(x *Transport) bool { return x == t })
}

// States describes all transports that run in this process, by member.
func States() []State {
	running.Lock()
	list := slices.Clone(running.list)
	running.Unlock()
	states := make([]State, len(list))
	for i, t := range list {
		states[i] = t.State()
	}
	slices.SortFunc(states, func(a, b State) int { return strings.Compare(a.Member, b.Member) })
	return states
}

// SetAllElections switches the arbiters of all transports that run in this
// process, and returns the ids of their members. Either all are switched or none.
func SetAllElections(m election.Mode) (members []string, err error) {
	running.Lock()
	list := slices.Clone(running.list)
	running.Unlock()
	for _, t := range list {
		if err := t.elections.canSwitch(m); err != nil {
			return nil, fmt.Errorf("member %s: %w", t.ID, err)
		}
	}
	for _, t := range list {
		if err := t.SetElections(m); err != nil {
			return nil, fmt.Errorf("member %s: %w", t.ID, err)
		}
		members = append(members, t.ID.String())
	}
	slices.Sort(members)
	return members, nil
}

// DebugHandler shows the states of all transports that run in this process, as
// a JSON list. It has no protection of its own: serve it where the metrics are
// served.
func DebugHandler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "Method Not Allowed", http.StatusMethodNotAllowed)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		enc.Encode(States())
	})
}
