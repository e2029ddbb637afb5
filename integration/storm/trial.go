package storm

import (
	"math"
	"strconv"
	"time"

	"github.com/raftdv/dv/fabric/sim"
	"github.com/raftdv/dv/integration/simulate"
	"github.com/raftdv/dv/raftdv/election"
)

// lanFactor is by how much stock-lan divides raft's timers.
const lanFactor = 10

// simulated is a trial as the simulator runs it.
func (s *Spec) simulated(trial uint64) (simulate.Config, simulate.Lab, error) {
	c, seed := s.trial(trial)
	t := transportOf(c.Value("transport"))
	link, err := sim.ModelByName(c.Value("link"))
	if err != nil {
		return simulate.Config{}, simulate.Lab{}, err
	}
	lab := simulate.Lab{
		Link: link, Loss: c.float("loss"), Heartbeat: c.time("heartbeat"), Election: c.time("election"),
		PreVote: c.bool("prevote"), CheckQuorum: c.bool("checkquorum"), RowAcks: t.RowAcks, Retransmit: t.Retransmit,
		Fault: c.Value("fault"), Crashes: c.int("crashes"), Skew: c.int("skew"), WarmUp: s.WarmUp, Rate: s.Rate, Size: s.Size,
	}
	if t.LAN {
		lab.Heartbeat, lab.Election = lab.Heartbeat/lanFactor, lab.Election/lanFactor
	}
	cfg := simulate.Config{Seed: seed, Members: c.int("members"), Duration: s.Duration, Views: t.Relays}
	if t.Arbiter {
		cfg.Elections = election.On
	}
	return cfg, lab, nil
}

// Values that the parser has looked at.
func (c *Cell) int(name string) int       { n, _ := strconv.Atoi(c.Value(name)); return n }
func (c *Cell) float(name string) float64 { x, _ := strconv.ParseFloat(c.Value(name), 64); return x }
func (c *Cell) bool(name string) bool     { return c.Value(name) == "true" }
func (c *Cell) time(name string) time.Duration {
	d, _ := time.ParseDuration(c.Value(name))
	return d
}

// Simulate runs a trial in this process; one at a time, as raft draws from a source
// that the process has once.
func (s *Spec) Simulate(trial uint64) (Result, error) {
	return s.simulate(trial, nil)
}

// simulate tells trace, if any, what happens when.
func (s *Spec) simulate(trial uint64, trace func(at time.Duration, what string)) (Result, error) {
	cfg, lab, err := s.simulated(trial)
	if err != nil {
		return Result{}, err
	}
	cfg.Trace = trace
	r, err := simulate.RunLab(cfg, lab)
	if err != nil {
		return Result{}, err
	}
	return s.result(trial, r), nil
}

func (s *Spec) result(trial uint64, r *simulate.LabResult) Result {
	res := Result{Trial: trial}
	failed := 0.0
	switch {
	case len(r.Failures) > 0:
		res.Failure, failed = r.Failures[0].Check+": "+r.Failures[0].What, 1
	case !r.Led:
		res.Failure, failed = "nobody leads in the end", 1
	}
	ms := func(d time.Duration) float64 {
		if d < 0 {
			return math.NaN()
		}
		return float64(d) / float64(time.Millisecond)
	}
	perOp := func(n float64) float64 {
		if r.Acked == 0 {
			return math.NaN()
		}
		return n / float64(r.Acked)
	}
	values := map[string]float64{
		"rounds": float64(r.Rounds), "campaigns": float64(r.Campaigns), "elections": float64(r.Elections), "terms": float64(r.Terms),
		"split_votes": float64(r.SplitVotes), "time_to_leader": ms(r.TimeToLeader), "unavailable": ms(r.Unavailable),
		"ops": float64(r.Acked) / s.Duration.Seconds(), "messages_per_op": perOp(float64(r.Messages)), "bytes_per_op": perOp(float64(r.Bytes)),
		"failed": failed,
	}
	for i := range metrics {
		res.Values = append(res.Values, values[metrics[i].name])
	}
	return res
}
