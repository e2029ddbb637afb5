package admin

import (
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/raftdv/dv/raftdv"
	"github.com/raftdv/dv/raftdv/admin/adminpb"
)

// FromState puts a state on the wire.
func FromState(s *raftdv.State) *adminpb.MemberStatus {
	m := &adminpb.MemberStatus{
		Member: s.Member, Cluster: s.Cluster, Incarnation: s.Incarnation, Started: timestamppb.New(s.Started),
		WireMin: int32(s.WireMin), WireMax: int32(s.WireMax), Require: s.Require, Liveness: s.Liveness, ClusterFeatures: s.ClusterFeatures,
	}
	for _, f := range s.Fabrics {
		m.Fabrics = append(m.Fabrics, &adminpb.FabricStatus{Name: f.Name, Address: f.Address, MaxFrame: int64(f.MaxFrame), Error: f.Error})
	}
	for i := range s.Peers {
		m.Peers = append(m.Peers, fromPeer(&s.Peers[i]))
	}
	m.Elections = fromElections(s.Elections)
	m.Order = fromOrder(s.Order)
	if r := s.Relays; r != nil {
		m.Relays = &adminpb.RelayStatus{Open: int64(r.Open), Made: r.Made, Bytes: r.Bytes}
	}
	return m
}

func fromOrder(o *raftdv.OrderState) *adminpb.OrderStatus {
	if o == nil {
		return nil
	}
	return &adminpb.OrderStatus{
		Delivery: o.Delivery, Why: o.Why, Mixed: o.Mixed, View: o.View, Members: o.Members, Member: o.Member, Changing: o.Changing,
		Views: o.Views, Left: o.Left, Sent: o.Sent, Delivered: o.Delivered, NotSent: o.NotSent, InView: o.InView, Digest: o.Digest,
		Faults: o.Faults, Ahead: o.Ahead, Error: o.Error,
	}
}

func toOrder(m *adminpb.OrderStatus) *raftdv.OrderState {
	if m == nil {
		return nil
	}
	return &raftdv.OrderState{
		Delivery: m.GetDelivery(), Why: m.GetWhy(), Mixed: m.GetMixed(), View: m.GetView(), Members: list(m.GetMembers()), Member: m.GetMember(),
		Changing: m.GetChanging(), Views: m.GetViews(), Left: m.GetLeft(), Sent: m.GetSent(), Delivered: m.GetDelivered(), NotSent: m.GetNotSent(),
		InView: m.GetInView(), Digest: m.GetDigest(), Faults: m.GetFaults(), Ahead: m.GetAhead(), Error: m.GetError(),
	}
}

func fromElections(e *raftdv.ElectionState) *adminpb.ElectionStatus {
	if e == nil {
		return nil
	}
	m := &adminpb.ElectionStatus{
		Mode: e.Mode, Wanted: e.Wanted, Why: e.Why, Term: e.Term, Claimant: e.Claimant, Leads: e.Leads, Suspects: e.Suspects, Electing: e.Electing,
		Abstains: e.Abstains, Held: int64(e.Held), Elections: e.Elections, FalseSuspicions: e.FalseSuspicions,
	}
	if l := e.Last; l != nil {
		m.Last = &adminpb.LastElection{
			Ended: timestamppb.New(l.Ended), Term: l.Term, Leader: l.Leader, Nominee: l.Nominee, Lost: l.Lost, Reason: l.Reason,
			Rounds: int64(l.Rounds), DetectionMs: l.Detection, TookMs: l.Took,
		}
	}
	return m
}

func toElections(m *adminpb.ElectionStatus) *raftdv.ElectionState {
	if m == nil {
		return nil
	}
	e := &raftdv.ElectionState{
		Mode: m.GetMode(), Wanted: m.GetWanted(), Why: m.GetWhy(), Term: m.GetTerm(), Claimant: m.GetClaimant(), Leads: m.GetLeads(),
		Suspects: m.GetSuspects(), Electing: m.GetElecting(), Abstains: m.GetAbstains(), Held: int(m.GetHeld()),
		Elections: m.GetElections(), FalseSuspicions: m.GetFalseSuspicions(),
	}
	if l := m.GetLast(); l != nil {
		e.Last = &raftdv.LastElection{
			Ended: l.GetEnded().AsTime(), Term: l.GetTerm(), Leader: l.GetLeader(), Nominee: l.GetNominee(), Lost: l.GetLost(), Reason: l.GetReason(),
			Rounds: int(l.GetRounds()), Detection: l.GetDetectionMs(), Took: l.GetTookMs(),
		}
	}
	return e
}

func fromPeer(p *raftdv.PeerState) *adminpb.PeerStatus {
	m := &adminpb.PeerStatus{
		Member: p.Member, Urls: p.URLs, Path: p.Path, Paused: p.Paused, Incarnation: p.Incarnation, Wire: int32(p.Wire),
		Features: p.Features, Proven: p.Proven, Sealed: p.Sealed, DialError: p.DialError, SideError: p.SideError,
		Suspected: p.Suspected, SuspectAfterMs: p.SuspectAfter, ElectionMode: p.ElectionMode,
		Linked: p.Linked, Relay: p.Relay, RelayError: p.RelayError,
	}
	if p.ActiveSince != nil {
		m.ActiveSince = timestamppb.New(*p.ActiveSince)
	}
	for _, l := range p.Links {
		link := &adminpb.LinkStatus{
			Fabric: l.Fabric, Up: l.Up, Down: l.Down, RttUs: l.RTT, BytesSent: l.BytesSent, BytesReceived: l.BytesReceived,
			Retransmissions: l.Retransmissions, Refused: l.Refused,
		}
		for _, lane := range l.Lanes {
			link.Lanes = append(link.Lanes, &adminpb.LaneStatus{
				Lane: lane.Lane, Sent: lane.Sent, Delivered: lane.Delivered, Lost: lane.Lost, NoCredit: lane.NoCredit,
				Queued: int64(lane.Queued), QueuedBytes: int64(lane.QueuedBytes), CreditBytes: int64(lane.CreditBytes),
			})
		}
		m.Links = append(m.Links, link)
	}
	return m
}

// ToState is the inverse of FromState. Lists that are empty there are empty
// here, not nil.
func ToState(m *adminpb.MemberStatus) raftdv.State {
	s := raftdv.State{
		Member: m.GetMember(), Cluster: m.GetCluster(), Incarnation: m.GetIncarnation(), Started: m.GetStarted().AsTime(),
		WireMin: int(m.GetWireMin()), WireMax: int(m.GetWireMax()), Require: m.GetRequire(), Liveness: m.GetLiveness(),
		ClusterFeatures: list(m.GetClusterFeatures()), Fabrics: []raftdv.FabricState{}, Peers: []raftdv.PeerState{},
	}
	for _, f := range m.GetFabrics() {
		s.Fabrics = append(s.Fabrics, raftdv.FabricState{Name: f.GetName(), Address: f.GetAddress(), MaxFrame: int(f.GetMaxFrame()), Error: f.GetError()})
	}
	for _, p := range m.GetPeers() {
		s.Peers = append(s.Peers, toPeer(p))
	}
	s.Elections = toElections(m.GetElections())
	s.Order = toOrder(m.GetOrder())
	if r := m.GetRelays(); r != nil {
		s.Relays = &raftdv.RelayState{Open: int(r.GetOpen()), Made: r.GetMade(), Bytes: r.GetBytes()}
	}
	return s
}

func toPeer(m *adminpb.PeerStatus) raftdv.PeerState {
	p := raftdv.PeerState{
		Member: m.GetMember(), URLs: list(m.GetUrls()), Path: m.GetPath(), ActiveSince: toTime(m.GetActiveSince()), Paused: m.GetPaused(),
		Incarnation: m.GetIncarnation(), Wire: int(m.GetWire()), Features: m.GetFeatures(), Proven: m.GetProven(), Sealed: m.GetSealed(),
		DialError: m.GetDialError(), SideError: m.GetSideError(), Links: []raftdv.PeerLinkState{},
		Suspected: m.GetSuspected(), SuspectAfter: m.GetSuspectAfterMs(), ElectionMode: m.GetElectionMode(),
		Linked: m.GetLinked(), Relay: m.GetRelay(), RelayError: m.GetRelayError(),
	}
	for _, l := range m.GetLinks() {
		link := raftdv.PeerLinkState{
			Fabric: l.GetFabric(), Up: l.GetUp(), Down: l.GetDown(), RTT: l.GetRttUs(), BytesSent: l.GetBytesSent(), BytesReceived: l.GetBytesReceived(),
			Retransmissions: l.GetRetransmissions(), Refused: l.GetRefused(),
		}
		for _, lane := range l.GetLanes() {
			link.Lanes = append(link.Lanes, raftdv.LaneState{
				Lane: lane.GetLane(), Sent: lane.GetSent(), Delivered: lane.GetDelivered(), Lost: lane.GetLost(), NoCredit: lane.GetNoCredit(),
				Queued: int(lane.GetQueued()), QueuedBytes: int(lane.GetQueuedBytes()), CreditBytes: int(lane.GetCreditBytes()),
			})
		}
		p.Links = append(p.Links, link)
	}
	return p
}

func toTime(t *timestamppb.Timestamp) *time.Time {
	if t == nil {
		return nil
	}
	return new(t.AsTime())
}

func list(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}

// FromEvent puts an event on the wire.
func FromEvent(e *raftdv.Event) *adminpb.Event {
	m := &adminpb.Event{Number: e.Number, Time: timestamppb.New(e.Time), Member: e.Member, Peer: e.Peer}
	switch {
	case e.Path != nil:
		m.What = &adminpb.Event_Path{Path: &adminpb.PathEvent{From: e.Path.From, To: e.Path.To, Reason: e.Path.Reason}}
	case e.Link != nil:
		m.What = &adminpb.Event_Link{Link: &adminpb.LinkEvent{Fabric: e.Link.Fabric, Up: e.Link.Up, Reason: e.Link.Reason}}
	case e.Activity != nil:
		m.What = &adminpb.Event_Activity{Activity: &adminpb.ActivityEvent{Heard: e.Activity.Heard, Reason: e.Activity.Reason}}
	case e.Election != nil:
		m.What = &adminpb.Event_Election{Election: &adminpb.ElectionEvent{
			Kind: e.Election.Kind, Term: e.Election.Term, Attempt: int64(e.Election.Attempt), Reason: e.Election.Reason,
			TookMs: e.Election.Took, DetectionMs: e.Election.Detection,
		}}
	case e.View != nil:
		m.What = &adminpb.Event_View{View: &adminpb.ViewEvent{Number: e.View.Number, Members: e.View.Members, Member: e.View.Member, Stayed: e.View.Stayed}}
	}
	return m
}

// ToEvent is the inverse of FromEvent. Of an event of a kind that is not known
// here Path, Link, Activity, Election and View are nil.
func ToEvent(m *adminpb.Event) raftdv.Event {
	e := raftdv.Event{Number: m.GetNumber(), Time: m.GetTime().AsTime(), Member: m.GetMember(), Peer: m.GetPeer()}
	switch what := m.GetWhat().(type) {
	case *adminpb.Event_Path:
		e.Path = &raftdv.PathEvent{From: what.Path.GetFrom(), To: what.Path.GetTo(), Reason: what.Path.GetReason()}
	case *adminpb.Event_Link:
		e.Link = &raftdv.LinkEvent{Fabric: what.Link.GetFabric(), Up: what.Link.GetUp(), Reason: what.Link.GetReason()}
	case *adminpb.Event_Activity:
		e.Activity = &raftdv.ActivityEvent{Heard: what.Activity.GetHeard(), Reason: what.Activity.GetReason()}
	case *adminpb.Event_Election:
		e.Election = &raftdv.ElectionEvent{
			Kind: what.Election.GetKind(), Term: what.Election.GetTerm(), Attempt: int(what.Election.GetAttempt()), Reason: what.Election.GetReason(),
			Took: what.Election.GetTookMs(), Detection: what.Election.GetDetectionMs(),
		}
	case *adminpb.Event_View:
		e.View = &raftdv.ViewEvent{Number: what.View.GetNumber(), Members: what.View.GetMembers(), Member: what.View.GetMember(), Stayed: what.View.GetStayed()}
	}
	return e
}
