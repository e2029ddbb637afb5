package failover

import (
	"context"
	"errors"
	"testing"

	"github.com/raftdv/dv/integration/cluster"
)

// moves is a lab whose fault is that the leader hands over: about the least
// that a change of leader can take.
type moves struct {
	signals
	side *side
}

func (l *moves) strike(i int, m *cluster.Member) error {
	st := l.side.statuses(context.Background(), l.side.others(m))[0]
	if st == nil {
		return errors.New("no answer")
	}
	_, err := l.side.clients[m].MoveLeader(context.Background(), st.Header.MemberId)
	return err
}

func (l *moves) mend(context.Context, int, *cluster.Member) error { return nil }

// What the measurement adds by itself is logged: it asks every 2 ms.
func TestFloor(t *testing.T) {
	p := programs(t)
	l := &moves{}
	s, err := openSide(t.Context(), StockSide, p, 3, l)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	l.side = s
	for range 3 {
		before := s.view
		one, err := s.trial(t.Context(), 1, warmUp, defaultBound)
		if err != nil {
			t.Fatal(err)
		}
		t.Log("from the wish to move the leader to the first write:", one.Took)
		if !one.Within || one.Terms != 1 || one.Changes != 1 || s.view.leader == before.leader || s.view.term != before.term+1 {
			t.Errorf("%+v: %+v, then %+v", one, before, s.view)
		}
	}
	if err := s.verify(t.Context()); err != nil {
		t.Error(err)
	}
}
