package simulate

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
)

// Report is what a run did and found. Counts are of the whole cluster.
type Report struct {
	Seed      uint64        `json:"seed"`
	Members   int           `json:"members"`
	Simulated time.Duration `json:"simulated"`
	Wall      time.Duration `json:"wall"`
	// Hash is a digest of all that happened on the network and of all that raft
	// applied: runs with equal hashes were equal.
	Hash uint64 `json:"hash"`
	// Events of the fabric.
	Events uint64 `json:"events"`

	// Faults that struck, by kind; Scheduled are those that should have.
	Faults    map[string]int `json:"faults"`
	Scheduled int            `json:"scheduled"`

	Elections  int `json:"elections"`
	Rounds     int `json:"rounds"`
	MostRounds int `json:"most_rounds"` // of one election
	VotesAsked int `json:"votes_asked"`

	// Inside counts the elections under E1's assumption, by failed nominees and
	// rounds, Outside the others by rounds and OutsideWhy by what broke it.
	Inside     map[string]int `json:"inside,omitempty"`
	Outside    map[string]int `json:"outside,omitempty"`
	OutsideWhy map[string]int `json:"outside_why,omitempty"`
	InsideTime time.Duration  `json:"inside_time,omitempty"` // from the first sign to a leader, all of Inside
	// Failovers is how often the leader crashed, or stopped, and another one was
	// elected; FailoverTime what that took, in all and at most.
	Failovers        int           `json:"failovers"`
	FailoverTime     time.Duration `json:"failover_time"`
	MostFailoverTime time.Duration `json:"most_failover_time"`
	Held             int           `json:"held,omitempty"`         // messages
	Endorsements     int           `json:"endorsements,omitempty"` // published

	Views     int `json:"views,omitempty"`     // installed, by all members
	Agreed    int `json:"agreed,omitempty"`    // frames, sent
	Delivered int `json:"delivered,omitempty"` // of them, by all members
	Relayed   int `json:"relayed,omitempty"`   // frames that members passed on

	Proposals int `json:"proposals"` // that a raft took
	Acked     int `json:"acked"`
	Reads     int `json:"reads"`   // answered
	Unknown   int `json:"unknown"` // calls without an answer

	Messages    int `json:"messages"`     // that rafts sent
	RowMessages int `json:"row_messages"` // of them, in rows
	FromRows    int `json:"from_rows"`    // made of rows
	Frames      int `json:"frames"`       // delivered
	Rows        int `json:"rows"`         // delivered
	Again       int `json:"again"`        // packets retransmitted, by incarnations that are alive at the end
	Gaps        int `json:"gaps"`
	Lost        int `json:"lost"`    // tickets
	Refused     int `json:"refused"` // frames, by a port
	NoCredit    int `json:"no_credit"`
	Unreachable int `json:"unreachable"` // reports to raft
	MostQueued  int `json:"most_queued"` // bytes of one lane
	Snapshots   int `json:"snapshots"`   // that a member was sent and restored
	Reconfigs   int `json:"reconfigs"`   // configurations applied
	Restarts    int `json:"restarts"`
	Syncs       int `json:"syncs"`

	Failures []Failure `json:"failures,omitempty"`
	Schedule []Fault   `json:"-"`

	cfg *Config
}

func newReport(cfg *Config) Report {
	return Report{Seed: cfg.Seed, Members: cfg.Members, Faults: map[string]int{},
		Inside: map[string]int{}, Outside: map[string]int{}, OutsideWhy: map[string]int{}, cfg: cfg}
}

// Failed reports whether the run found anything wrong.
func (r *Report) Failed() bool { return len(r.Failures) > 0 }

func (r *Report) struck() (n int) {
	for _, k := range r.Faults {
		n += k
	}
	return n
}

// Replay is the command that runs the same again.
func (r *Report) Replay() string {
	s := fmt.Sprintf("raftdv sim --seed %d --members %d --hash", r.Seed, r.Members)
	if r.cfg == nil {
		return s
	}
	s += fmt.Sprintf(" --elections=%v --failovers=%d --views=%v", r.cfg.Elections, r.cfg.Failovers, r.cfg.Views)
	if d := r.cfg.Duration; d != 0 && d != defaultDuration {
		s += fmt.Sprintf(" --duration=%v", d)
	}
	if r.cfg.Only != nil {
		s += " --only=" + join(r.cfg.Only)
	}
	return s
}

func join(numbers []int) string {
	if len(numbers) == 0 {
		return "none"
	}
	return strings.Trim(strings.ReplaceAll(fmt.Sprint(numbers), " ", ","), "[]")
}

// counts lists what there is of each.
func counts(of map[string]int) string {
	if len(of) == 0 {
		return "none"
	}
	var words []string
	for _, what := range slices.Sorted(maps.Keys(of)) {
		words = append(words, fmt.Sprintf("%s ×%d", what, of[what]))
	}
	return strings.Join(words, ", ")
}

func mean(sum time.Duration, n int) time.Duration {
	return (sum / time.Duration(max(1, n))).Round(time.Millisecond)
}

// Write prints the report for a reader.
func (r *Report) Write(w io.Writer) {
	fmt.Fprintf(w, "seed %d, %d members: %v simulated in %v\n", r.Seed, r.Members, r.Simulated.Round(time.Millisecond), r.Wall.Round(time.Millisecond))
	fmt.Fprintf(w, "  faults      %d of %d:", r.struck(), r.Scheduled)
	for i, kind := range slices.Sorted(maps.Keys(r.Faults)) {
		if i > 0 {
			fmt.Fprint(w, ",")
		}
		fmt.Fprintf(w, " %s %d", kind, r.Faults[kind])
	}
	fmt.Fprintf(w, "\n  elections   %d in %d rounds, at most %d each; %d restarts, %d snapshots, %d configurations\n",
		r.Elections, r.Rounds, r.MostRounds, r.Restarts, r.Snapshots, r.Reconfigs)
	if len(r.Inside)+len(r.Outside) > 0 {
		fmt.Fprintf(w, "  inside E1's assumption: %s; outside: %s (%s)\n", counts(r.Inside), counts(r.Outside), counts(r.OutsideWhy))
	}
	if r.Failovers > 0 {
		fmt.Fprintf(w, "  failovers   %d, %v on average, at most %v\n", r.Failovers, mean(r.FailoverTime, r.Failovers), r.MostFailoverTime.Round(time.Millisecond))
	}
	if r.Endorsements > 0 {
		fmt.Fprintf(w, "  arbiters    %d endorsements, %d messages held\n", r.Endorsements, r.Held)
	}
	if r.Views > 0 {
		fmt.Fprintf(w, "  order       %d views installed; %d agreed frames, %d deliveries; %d frames passed on\n", r.Views, r.Agreed, r.Delivered, r.Relayed)
	}
	fmt.Fprintf(w, "  calls       %d proposals, %d acknowledged; %d reads; %d without an answer\n", r.Proposals, r.Acked, r.Reads, r.Unknown)
	fmt.Fprintf(w, "  messages    %d, %d of them in rows (%d made of rows); %d reports of unreachable peers\n",
		r.Messages, r.RowMessages, r.FromRows, r.Unreachable)
	fmt.Fprintf(w, "  fabric      %d events, %d frames, %d rows, %d retransmissions, %d tickets lost, %d frames refused (%d for want of credit), %d gaps\n",
		r.Events, r.Frames, r.Rows, r.Again, r.Lost, r.Refused, r.NoCredit, r.Gaps)
	for _, f := range r.Failures {
		fmt.Fprintf(w, "  FAILED      %s at %v: %s\n", f.Check, f.At, f.What)
	}
	if r.Failed() {
		fmt.Fprintf(w, "replay with: %s\n", r.Replay())
	}
}
