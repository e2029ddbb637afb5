package failover

import (
	"context"
	"errors"
	"fmt"

	"github.com/raftdv/dv/integration/cluster"
)

// links is a network whose links can be cut one by one, in each direction. A member
// that is cut from another one sends to a hardware address that nobody has: what it
// says is dropped, and nobody is told.
type links struct {
	*network
	// batches are an ip for each member that waits for commands, so that a cut does
	// not wait for processes to start.
	batches []*guard
	cuts    map[link]bool
}

// link is the way from one member to another one, by their numbers.
type link struct{ from, to int }

// nobodysMAC is the hardware address of no member.
const nobodysMAC = "02:00:00:00:ff:ff"

func macOf(i int) string { return fmt.Sprintf("02:00:00:00:00:%02x", i+1) }

func newLinks(ctx context.Context, members int) (*links, error) {
	n, err := newNetwork(ctx, members)
	if err != nil {
		return nil, err
	}
	l := &links{network: n, cuts: map[link]bool{}}
	if err := l.open(ctx); err != nil {
		return nil, fmt.Errorf("links of network namespaces: %w", errors.Join(err, l.close()))
	}
	return l, nil
}

func (l *links) open(ctx context.Context) error {
	for i, m := range l.members {
		if err := run(ctx, m, fmt.Sprintf("ip link set eth0 down && ip link set eth0 address %s && ip link set eth0 up", macOf(i))); err != nil {
			return err
		}
		g, err := newGuard("nsenter", "--net="+netPath(m), "sh", "-c", "echo ready && exec ip -force -batch -")
		if err != nil {
			return err
		}
		l.batches = append(l.batches, g)
	}
	for from := range l.members {
		for to := range l.members {
			if err := l.set(link{from, to}, false); err != nil {
				return err
			}
		}
	}
	return nil
}

// set cuts a link, or mends it.
func (l *links) set(k link, cut bool) error {
	if k.from == k.to {
		return nil
	}
	mac := macOf(k.to)
	if cut {
		mac = nobodysMAC
	}
	_, err := fmt.Fprintf(l.batches[k.from].stdin, "neigh replace %s lladdr %s dev eth0 nud permanent\n", host(k.to), mac)
	l.cuts[k] = cut
	return err
}

// only cuts exactly those links.
func (l *links) only(cut []link) error {
	want := map[link]bool{}
	for _, k := range cut {
		want[k] = true
	}
	var errs []error
	for from := range l.members {
		for to := range l.members {
			if k := (link{from, to}); l.cuts[k] != want[k] {
				errs = append(errs, l.set(k, want[k]))
			}
		}
	}
	return errors.Join(errs...)
}

// strike and mend cut a member off from all others.
func (l *links) strike(i int, _ *cluster.Member) error { return l.only(around(i, len(l.members))) }

func (l *links) mend(context.Context, int, *cluster.Member) error { return l.only(nil) }

// around are the links of a member, in both directions.
func around(i, n int) (all []link) {
	for j := range n {
		if j != i {
			all = append(all, both(i, j)...)
		}
	}
	return all
}

func both(i, j int) []link { return []link{{i, j}, {j, i}} }

func (l *links) close() (err error) {
	for _, g := range l.batches {
		err = errors.Join(err, g.close())
	}
	return errors.Join(err, l.network.close())
}

// cutNow are the links that are cut.
func (l *links) cutNow() (cut []link) {
	for k, is := range l.cuts {
		if is {
			cut = append(cut, k)
		}
	}
	return cut
}
