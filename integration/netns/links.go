package netns

import (
	"context"
	"errors"
	"fmt"

	"github.com/raftdv/dv/integration/guard"
)

// Links is a network whose links can be cut one by one, in each direction. A member
// that is cut from another one sends to a hardware address that nobody has: what it
// says is dropped, and nobody is told.
type Links struct {
	*Network
	// batches are an ip for each member that waits for commands.
	batches []*guard.Guard
	cuts    map[Link]bool
}

// Link is the way from one member to another one, by their numbers.
type Link struct{ From, To int }

// nobodysMAC is the hardware address of no member.
const nobodysMAC = "02:00:00:00:ff:ff"

func macOf(i int) string { return fmt.Sprintf("02:00:00:00:00:%02x", i+1) }

// NewLinks makes a network with links; guard.ErrNotHere if it cannot be had.
func NewLinks(ctx context.Context, members int) (*Links, error) {
	n, err := New(ctx, members)
	if err != nil {
		return nil, err
	}
	l := &Links{Network: n, cuts: map[Link]bool{}}
	if err := l.open(ctx); err != nil {
		return nil, fmt.Errorf("links of network namespaces: %w", errors.Join(err, l.Close()))
	}
	return l, nil
}

func (l *Links) open(ctx context.Context) error {
	for i := range l.members {
		if err := l.Run(ctx, i, fmt.Sprintf("ip link set %[1]s down && ip link set %[1]s address %s && ip link set %[1]s up", device, macOf(i))); err != nil {
			return err
		}
		g, err := guard.New("nsenter", "--net="+l.Path(i), "sh", "-c", commands)
		if err != nil {
			return err
		}
		l.batches = append(l.batches, g)
	}
	for from := range l.members {
		for to := range l.members {
			if err := l.set(Link{from, to}, false); err != nil {
				return err
			}
		}
	}
	return nil
}

// set cuts a link, or mends it.
func (l *Links) set(k Link, cut bool) error {
	if k.From == k.To {
		return nil
	}
	mac := macOf(k.To)
	if cut {
		mac = nobodysMAC
	}
	l.cuts[k] = cut
	return l.batches[k.From].Tellf("neigh replace %s lladdr %s dev %s nud permanent", Host(k.To), mac, device)
}

// Only cuts exactly those links.
func (l *Links) Only(cut []Link) error {
	want := map[Link]bool{}
	for _, k := range cut {
		want[k] = true
	}
	var errs []error
	for from := range l.members {
		for to := range l.members {
			if k := (Link{from, to}); l.cuts[k] != want[k] {
				errs = append(errs, l.set(k, want[k]))
			}
		}
	}
	return errors.Join(errs...)
}

// Around are the links of a member of n, in both directions.
func Around(i, n int) (all []Link) {
	for j := range n {
		if j != i {
			all = append(all, Both(i, j)...)
		}
	}
	return all
}

// Both are the link of two members in both directions.
func Both(i, j int) []Link { return []Link{{i, j}, {j, i}} }

// Close ends the network.
func (l *Links) Close() (err error) {
	for _, g := range l.batches {
		err = errors.Join(err, g.Close())
	}
	return errors.Join(err, l.Network.Close())
}

// CutNow are the links that are cut.
func (l *Links) CutNow() (cut []Link) {
	for k, is := range l.cuts {
		if is {
			cut = append(cut, k)
		}
	}
	return cut
}
