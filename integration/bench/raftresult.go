package bench

import (
	"fmt"
	"io"
	"text/tabwriter"
)

// RaftResult is one comparison of raft groups. Ratios are ours divided by
// rafthttp's: medians over the pairs, with the bounds of their 95% intervals.
// Absolute numbers are medians too.
type RaftResult struct {
	Port    string `json:"port"`
	Members int    `json:"members"`
	Sealed  bool   `json:"sealed"`
	// InFlight is the number of clients, each with one proposal under way.
	InFlight int `json:"in_flight"`
	// Size of an entry in bytes.
	Size  int `json:"size"`
	Pairs int `json:"pairs"`
	// Repeats counts the measurements that were thrown away and made again
	// because leadership changed.
	Repeats int `json:"repeats"`

	Ours     RaftNumber `json:"ours"`
	Rafthttp RaftNumber `json:"rafthttp"`

	RatioCommits   float64 `json:"ratio_commits"`
	RatioCommitsLo float64 `json:"ratio_commits_lo"`
	RatioCommitsHi float64 `json:"ratio_commits_hi"`
	RatioP50       float64 `json:"ratio_p50"`
	RatioP50Lo     float64 `json:"ratio_p50_lo"`
	RatioP50Hi     float64 `json:"ratio_p50_hi"`
	RatioP99       float64 `json:"ratio_p99"`
	RatioP99Lo     float64 `json:"ratio_p99_lo"`
	RatioP99Hi     float64 `json:"ratio_p99_hi"`
	RatioCPU       float64 `json:"ratio_cpu"`
	RatioCPULo     float64 `json:"ratio_cpu_lo"`
	RatioCPUHi     float64 `json:"ratio_cpu_hi"`

	Origin
}

// RaftNumber are the numbers of one side.
type RaftNumber struct {
	// CommitsPerS counts entries that the leader applied.
	CommitsPerS float64 `json:"commits_per_s"`
	// P50Us and P99Us are µs from the proposal until the leader has applied it.
	P50Us float64 `json:"p50_us"`
	P99Us float64 `json:"p99_us"`
	// CPUUs is µs of the whole process for each commit: all members, clients.
	CPUUs float64 `json:"cpu_us"`
	// MessagesPerCommit and BytesPerCommit are what all members' rafts gave to
	// their transports; bytes as protobuf.
	MessagesPerCommit float64 `json:"messages_per_commit"`
	BytesPerCommit    float64 `json:"bytes_per_commit"`
	// WireBytesPerCommit is what the ports of all members sent, by their own
	// count. Left out for systems that do not count.
	WireBytesPerCommit float64 `json:"wire_bytes_per_commit,omitempty"`
}

// raftSeries has one entry for each pair.
type raftSeries struct{ commits, p50, p99, cpu, messages, bytes, wire []float64 }

func (s *raftSeries) add(f raftFigures) {
	s.commits = append(s.commits, f.commits)
	s.p50 = append(s.p50, f.p50)
	s.p99 = append(s.p99, f.p99)
	s.cpu = append(s.cpu, f.cpu)
	s.messages = append(s.messages, f.messages)
	s.bytes = append(s.bytes, f.bytes)
	s.wire = append(s.wire, f.wire)
}

func (s *raftSeries) numbers() RaftNumber {
	return RaftNumber{
		CommitsPerS: Round(median(s.commits)), P50Us: Round(median(s.p50)), P99Us: Round(median(s.p99)), CPUUs: Round(median(s.cpu)),
		MessagesPerCommit: Round(median(s.messages)), BytesPerCommit: Round(median(s.bytes)), WireBytesPerCommit: Round(median(s.wire)),
	}
}

func (r *raftRig) result() RaftResult {
	ours, base := &r.ours.series, &r.base.series
	res := RaftResult{
		Port: r.cell.port.name, Members: r.cell.members, Sealed: r.cell.sealed, InFlight: r.cell.inFlight, Size: r.cfg.Size,
		Pairs: r.cfg.Pairs, Repeats: r.repeats, Ours: ours.numbers(), Rafthttp: base.numbers(), Origin: Here(),
	}
	ratios(ours.commits, base.commits).into(&res.RatioCommits, &res.RatioCommitsLo, &res.RatioCommitsHi)
	ratios(ours.p50, base.p50).into(&res.RatioP50, &res.RatioP50Lo, &res.RatioP50Hi)
	ratios(ours.p99, base.p99).into(&res.RatioP99, &res.RatioP99Lo, &res.RatioP99Hi)
	ratios(ours.cpu, base.cpu).into(&res.RatioCPU, &res.RatioCPULo, &res.RatioCPUHi)
	return res
}

// WriteRaftTable writes results for people.
func WriteRaftTable(w io.Writer, results []RaftResult) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "port\tmembers\t\tin flight\tcommits/s\t× rafthttp\tp50 µs\t× rafthttp\tp99 µs\t× rafthttp\tµs CPU\t× rafthttp\tmsgs\tbytes\twire\tagain\t")
	for _, r := range results {
		o := r.Ours
		fmt.Fprintf(t, "%s\t%d\t%s\t%d\t%.0f\t%s\t%.0f\t%s\t%.0f\t%s\t%.1f\t%s\t%.2f\t%.0f\t%s\t%d\t\n",
			r.Port, r.Members, sealedName(r.Sealed), r.InFlight,
			o.CommitsPerS, interval(r.RatioCommits, r.RatioCommitsLo, r.RatioCommitsHi), o.P50Us, interval(r.RatioP50, r.RatioP50Lo, r.RatioP50Hi),
			o.P99Us, interval(r.RatioP99, r.RatioP99Lo, r.RatioP99Hi), o.CPUUs, interval(r.RatioCPU, r.RatioCPULo, r.RatioCPUHi),
			o.MessagesPerCommit, o.BytesPerCommit, wireBytes(o), r.Repeats)
	}
	fmt.Fprintln(t, "\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t")
	for _, r := range results {
		b := r.Rafthttp
		fmt.Fprintf(t, "rafthttp beside %s\t%d\t%s\t%d\t%.0f\t\t%.0f\t\t%.0f\t\t%.1f\t\t%.2f\t%.0f\t%s\t\t\n", r.Port, r.Members, sealedName(r.Sealed), r.InFlight,
			b.CommitsPerS, b.P50Us, b.P99Us, b.CPUUs, b.MessagesPerCommit, b.BytesPerCommit, wireBytes(b))
	}
	return t.Flush()
}

func wireBytes(n RaftNumber) string {
	if n.WireBytesPerCommit == 0 {
		return "–"
	}
	return fmt.Sprintf("%.0f", n.WireBytesPerCommit)
}
