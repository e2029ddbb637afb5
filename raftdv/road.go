package raftdv

import (
	"fmt"
	"net"
	"slices"
	"time"

	"go.uber.org/zap"

	"go.etcd.io/etcd/client/pkg/v3/types"

	"github.com/raftdv/dv/fabric"
	"github.com/raftdv/dv/fabric/stream"
)

// streamQueueFrames bounds the frames of one lane to one peer that wait for
// their ack; raft has up to 512 MsgApps under way, with many small ones after
// each other.
const streamQueueFrames = 1 << 16

// keepAlivesPerTimeout is how often within the control timeout a control stream
// says that it lives; maxKeepAlive is the longest pause between two, as peer
// listeners close connections that say nothing for 5 s.
const (
	keepAlivesPerTimeout = 5
	maxKeepAlive         = time.Second
)

// rowInterval is how long members that a row says nothing to may wait for it:
// acks concern their leader alone, who gets them at once.
const rowInterval = time.Second

// relayAddress is what people are told of where relays are.
const relayAddress = "by way of members that reach both"

// road is one fabric of this member: the way to all peers that have it too.
// It is the stream or a side.
type road struct {
	recv  *receiver
	name  string
	index int
	port  fabric.Port
	caps  fabric.Capabilities
	str   *stream.Port
	side  side
	err   error // why it could not be opened; then port is nil
	addr  string
}

func (r *road) addPeer(id fabric.MemberID) {
	if r.str != nil {
		r.str.AddPeer(id)
	}
}

func (r *road) removePeer(id fabric.MemberID) {
	defer r.recv.forget(id)
	switch {
	case r.str != nil:
		r.str.RemovePeer(id)
	case r.side != nil:
		r.side.Disconnect(id)
	}
}

func (r *road) attachSend(id fabric.MemberID, s *controlStream, conn net.Conn, buffered []byte) (<-chan struct{}, error) {
	return r.str.AttachSend(id, s.session(conn), conn, buffered)
}

func (r *road) attachReceive(id fabric.MemberID, s *controlStream, conn net.Conn) (<-chan struct{}, error) {
	return r.str.AttachReceive(id, s.session(conn), conn, nil)
}

// session is what the stream fabric has to know of an upgraded connection.
func (s *controlStream) session(conn net.Conn) stream.Session {
	return stream.Session{
		PeerIncarnation: s.theirs.Incarnation, Checksum: !s.sealed,
		Socket: socketUnder(conn), Direct: !s.sealed,
	}
}

// openRoads opens the configured fabrics. The stream is opened even if it is
// not listed, and must be there: its connections are the control streams of all
// others.
func (t *Transport) openRoads() error {
	names := slices.Clone(t.cfg.Fabrics)
	if !slices.Contains(names, FabricStream) {
		names = append(names, FabricStream)
	}
	if !t.cfg.NoRelays {
		names = append(names, FabricRelay)
	}
	usable := 0
	for i, name := range names {
		r := &road{name: name, index: i}
		r.err = t.openRoad(r)
		t.roads = append(t.roads, r)
		if r.err != nil && (name == FabricStream || name == FabricRelay) {
			return r.err
		}
		if r.err != nil {
			t.lg.Warn("fabric cannot be used", zap.String("local-member-id", t.ID.String()), zap.String("fabric", name), zap.Error(r.err))
			continue
		}
		r.caps = r.port.Capabilities()
		if slices.Contains(t.cfg.Fabrics, name) {
			usable++
		}
		t.lg.Info("opened fabric", zap.String("local-member-id", t.ID.String()), zap.String("fabric", name), zap.String("address", r.addr))
	}
	if usable == 0 && t.cfg.Require {
		return fmt.Errorf("no fabric of %v can be used and rafthttp is not allowed: mend one, or allow the fall-back", t.cfg.Fabrics)
	}
	return nil
}

func (t *Transport) openRoad(r *road) error {
	r.recv = &receiver{t: t, road: r}
	if r.name == FabricStream || r.name == FabricRelay {
		detached := t.streamEnded
		if r.name == FabricRelay {
			detached = t.relayEnded
		}
		str, err := t.openStream(r.recv, detached)
		if err == nil {
			r.str, r.port = str, str
			if r.name == FabricRelay {
				r.addr = relayAddress
			}
		}
		return err
	}
	s, err := t.openSide(r.name, r.recv)
	if err == nil {
		r.side, r.port, r.addr = s, s, s.address()
	}
	return err
}

func (t *Transport) openStream(h fabric.Handler, detached func(fabric.MemberID, stream.Direction, error)) (*stream.Port, error) {
	var queues [fabric.Lanes]stream.Queue
	for l := range queues {
		queues[l].Frames = streamQueueFrames
	}
	return stream.New(stream.Config{
		Queues: queues, RowInterval: rowInterval,
		Self: t.member(), Incarnation: t.incarnation, TicketTimeout: t.cfg.TicketTimeout,
		KeepAlive: min(t.cfg.ControlTimeout/keepAlivesPerTimeout, maxKeepAlive), Detached: detached,
	}, h)
}

// streamEnded says why a control stream ended that this member dialled; the end
// of the others shows as a change of path.
func (t *Transport) streamEnded(id fabric.MemberID, d stream.Direction, why error) {
	if d == stream.Receiving && t.ctx.Err() == nil {
		if p := t.peer(types.ID(id)); p != nil && isClosed(why) {
			p.doubt.closed.Store(true)
		}
		t.lg.Info("lost control stream with peer", zap.String("local-member-id", t.ID.String()),
			zap.String("remote-peer-id", types.ID(id).String()), zap.Error(why))
	}
}

// relayEnded: a control stream by way of others came to its end.
func (t *Transport) relayEnded(id fabric.MemberID, _ stream.Direction, why error) {
	if p := t.peer(types.ID(id)); p != nil && t.ctx.Err() == nil {
		p.relay.poke()
		t.lg.Info("control stream by way of another member ended", zap.String("local-member-id", t.ID.String()),
			zap.String("remote-peer-id", p.id.String()), zap.Error(why))
	}
}

func (t *Transport) closeRoads() {
	for _, r := range t.roads {
		if r.port != nil {
			r.port.Close()
		}
	}
}

func (t *Transport) stream() *road {
	return t.roads[slices.IndexFunc(t.roads, func(r *road) bool { return r.name == FabricStream })]
}

// relayRoad is nil without relays.
func (t *Transport) relayRoad() *road {
	if r := t.roads[len(t.roads)-1]; r.name == FabricRelay && r.str != nil {
		return r
	}
	return nil
}

// setGates lets side fabrics be used only while the peer URLs answer, unless
// their addresses were given explicitly and are trusted.
func (t *Transport) setGates(id fabric.MemberID, answers bool) {
	for _, r := range t.roads {
		if r.side != nil {
			r.side.SetGate(id, answers || t.cfg.TrustFabric && r.side.given())
		}
	}
}
