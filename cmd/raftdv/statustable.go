package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/raftdv/dv/raftdv"
)

// writeStatus writes what the endpoints answered for people.
func writeStatus(w io.Writer, all []endpointStatus, now time.Time) error {
	for i, e := range all {
		if i > 0 {
			fmt.Fprintln(w)
		}
		switch {
		case e.Error != "":
			fmt.Fprintf(w, "%s: %s\n", e.Endpoint, e.Error)
		case len(e.Members) == 0:
			fmt.Fprintf(w, "%s: peer messages go over rafthttp: the transport is switched off (dv-mode=off)\n", e.Endpoint)
		}
		for j := range e.Members {
			if err := writeMember(w, e.Endpoint, &e.Members[j], now); err != nil {
				return err
			}
		}
	}
	return nil
}

func writeMember(w io.Writer, endpoint string, s *raftdv.State, now time.Time) error {
	fmt.Fprintf(w, "member %s of cluster %s at %s\n", s.Member, s.Cluster, endpoint)
	fallback := "allowed"
	if s.Require {
		fallback = "not allowed"
	}
	fmt.Fprintf(w, "  incarnation %d, up for %v, wire version %d to %d, liveness %s, rafthttp as last resort %s\n",
		s.Incarnation, since(now, s.Started), s.WireMin, s.WireMax, s.Liveness, fallback)
	fmt.Fprintf(w, "  features that all members have: %s\n", cmp.Or(strings.Join(s.ClusterFeatures, ", "), "none"))
	for _, f := range s.Fabrics {
		fmt.Fprintf(w, "  fabric %s: %s\n", f.Name, fabricText(f))
	}
	for _, line := range slices.Concat(electionText(s, now), orderText(s)) {
		fmt.Fprintf(w, "  %s\n", line)
	}
	if len(s.Peers) == 0 {
		fmt.Fprintln(w, "  no peers")
		return nil
	}
	fmt.Fprintln(w)
	if err := writePeers(w, s, now); err != nil {
		return err
	}
	for i := range s.Peers {
		for _, note := range peerNotes(s, &s.Peers[i]) {
			fmt.Fprintf(w, "  peer %s: %s\n", s.Peers[i].Member, note)
		}
	}
	return nil
}

func fabricText(f raftdv.FabricState) string {
	if f.Error != "" {
		return "not usable: " + f.Error
	}
	text := cmp.Or(f.Address, "on the connections to peer URLs")
	if f.MaxFrame > 0 {
		text += fmt.Sprintf(", frames up to %s", size(f.MaxFrame))
	}
	return text
}

func writePeers(w io.Writer, s *raftdv.State, now time.Time) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "  PEER\tPATH\tHEARD FOR\tSUSPECT AFTER\tRTT\tQUEUED\tSENT\tRECEIVED\tLOST\tNO CREDIT\tSENT AGAIN\tREFUSED")
	for i := range s.Peers {
		p := &s.Peers[i]
		sum := sumLinks(p)
		fmt.Fprintf(t, "  %s\t%s\t%s\t%s\t%s\t%s\t%d\t%d\t%d\t%d\t%d\t%d\n", p.Member, p.Path, heard(p, now), suspectAfter(p), pathRTT(p),
			queued(&sum), sum.sent, sum.received, sum.lost, sum.noCredit, sum.again, sum.refused)
	}
	return t.Flush()
}

// linkSum adds up the links to one peer.
type linkSum struct {
	queued, queuedBytes                            int
	sent, received, lost, noCredit, again, refused uint64
}

func sumLinks(p *raftdv.PeerState) (s linkSum) {
	for _, l := range p.Links {
		s.again += l.Retransmissions
		s.refused += l.Refused
		for _, lane := range l.Lanes {
			s.queued += lane.Queued
			s.queuedBytes += lane.QueuedBytes
			s.sent += lane.Sent
			s.received += lane.Delivered
			s.lost += lane.Lost
			s.noCredit += lane.NoCredit
		}
	}
	return s
}

// electionText says how the leader is elected, who it is, and what the last
// election was like.
func electionText(s *raftdv.State, now time.Time) (lines []string) {
	e := s.Elections
	if e == nil {
		return nil
	}
	first := "elections " + e.Mode
	if e.Mode != e.Wanted {
		first += fmt.Sprintf(" (%s is wanted: %s)", e.Wanted, cmp.Or(e.Why, "it is not in force yet"))
	}
	switch {
	case e.Claimant == "":
		first += fmt.Sprintf("; term %d, no leader is known", e.Term)
	case e.Leads:
		first += fmt.Sprintf("; term %d, %s leads", e.Term, e.Claimant)
	default:
		first += fmt.Sprintf("; term %d, %s campaigns", e.Term, e.Claimant)
	}
	if e.Suspects {
		first += " and is suspected"
	}
	lines = append(lines, first)
	if l := e.Last; l != nil {
		text := fmt.Sprintf("last election: %v ago, %s; %s after the last sign of %s, %s later %s led term %d", since(now, l.Ended), rounds(l.Rounds),
			ms(l.Detection), cmp.Or(l.Lost, "nobody"), ms(l.Took), l.Leader, l.Term)
		if l.Reason != "" {
			text += " (suspected: " + l.Reason + ")"
		}
		lines = append(lines, fmt.Sprintf("%s; %d in all, %d false suspicions", text, e.Elections, e.FalseSuspicions))
	}
	if e.Abstains != "" && !e.Leads {
		lines = append(lines, "this member would not endorse anybody now: "+e.Abstains)
	}
	return lines
}

// orderText says which view the member is in, and what it relays.
func orderText(s *raftdv.State) (lines []string) {
	if o := s.Order; o != nil {
		first := "delivery " + o.Delivery
		switch {
		case o.Why != "":
			first += "; in no view: " + o.Why
		case o.Changing:
			first += fmt.Sprintf("; view %d is about to change", o.View)
		case !o.Member:
			first += fmt.Sprintf("; not a member of view %d (%s): waits to join the next", o.View, strings.Join(o.Members, ", "))
		default:
			first += fmt.Sprintf("; view %d of %s, %d messages agreed in it", o.View, strings.Join(o.Members, ", "), o.InView)
		}
		if o.Mixed != "" {
			first += "; nothing is sent in agreed order: " + o.Mixed
		}
		lines = append(lines, first)
		if o.Error != "" {
			lines = append(lines, "views: "+o.Error)
		}
	}
	if r := s.Relays; r != nil && r.Made > 0 {
		lines = append(lines, fmt.Sprintf("relays %d connections for others, %d since its start", r.Open, r.Made))
	}
	return lines
}

func rounds(n int) string {
	if n == 1 {
		return "1 round"
	}
	return fmt.Sprintf("%d rounds", n)
}

func ms(v float64) string { return fmt.Sprintf("%.1fms", v) }

// suspectAfter is the silence after which a peer is suspected.
func suspectAfter(p *raftdv.PeerState) string {
	switch {
	case p.SuspectAfter == 0:
		return "-"
	case p.Suspected:
		return "suspected"
	}
	return fmt.Sprintf("%.0fms", p.SuspectAfter)
}

func heard(p *raftdv.PeerState, now time.Time) string {
	if p.ActiveSince == nil {
		return "not heard"
	}
	return since(now, *p.ActiveSince).String()
}

func pathRTT(p *raftdv.PeerState) string {
	for _, l := range p.Links {
		if l.Fabric == p.Path && l.RTT > 0 {
			return fmt.Sprintf("%.0fµs", l.RTT)
		}
	}
	return "-"
}

func queued(s *linkSum) string {
	if s.queued == 0 {
		return "0"
	}
	return fmt.Sprintf("%d (%s)", s.queued, size(s.queuedBytes))
}

// peerNotes say what is not as good as it could be, and why.
func peerNotes(s *raftdv.State, p *raftdv.PeerState) (notes []string) {
	if p.Paused {
		notes = append(notes, "paused: everything to and from it is dropped")
	}
	// Fabrics are listed best first: only what comes before the path matters.
	best := slices.IndexFunc(s.Fabrics, func(f raftdv.FabricState) bool { return f.Name == p.Path })
	for i, f := range s.Fabrics {
		if i == best || f.Name == raftdv.FabricRelay {
			break
		}
		notes = append(notes, fmt.Sprintf("%s is not used: %s", f.Name, whyNot(f, p)))
	}
	if p.Relay != "" {
		notes = append(notes, "its messages come by way of "+p.Relay)
	}
	if p.RelayError != "" && !p.Linked {
		notes = append(notes, "nobody relays its messages: "+p.RelayError)
	}
	if p.DialError != "" {
		notes = append(notes, "no control stream to "+strings.Join(p.URLs, ", ")+": "+p.DialError)
	}
	if best >= 0 && !p.Proven {
		notes = append(notes, "whoever receives our frames has not proved yet that the peer URL is its own")
	}
	return notes
}

func whyNot(f raftdv.FabricState, p *raftdv.PeerState) string {
	if f.Error != "" {
		return f.Error
	}
	for _, l := range p.Links {
		if l.Fabric != f.Name {
			continue
		}
		switch {
		case l.Up:
			return "its link is up; the fabric is not among those to use"
		case l.Down != "":
			return l.Down
		}
	}
	return cmp.Or(p.SideError, "its link has never been up")
}

// since rounds to what a reader wants to know.
func since(now, then time.Time) time.Duration {
	d := now.Sub(then)
	if d < time.Minute {
		return d.Round(100 * time.Millisecond)
	}
	return d.Round(time.Second)
}

func size(bytes int) string {
	switch {
	case bytes >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(bytes)/(1<<20))
	case bytes >= 1<<10:
		return fmt.Sprintf("%.1f KiB", float64(bytes)/(1<<10))
	}
	return fmt.Sprintf("%d B", bytes)
}
