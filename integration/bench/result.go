package bench

import (
	"fmt"
	"io"
	"text/tabwriter"
)

// TransportResult is one comparison. Ratios are ours divided by rafthttp's:
// medians over the pairs, with the bounds of their 95% intervals. Absolute
// numbers are medians too.
type TransportResult struct {
	Port    string `json:"port"`
	Members int    `json:"members"`
	Sealed  bool   `json:"sealed"`
	// Size of an entry in bytes.
	Size int `json:"size"`
	// DeliveriesPerS counts messages handed to Process at all followers.
	DeliveriesPerS    float64 `json:"deliveries_per_s"`
	RatioDeliveries   float64 `json:"ratio_deliveries"`
	RatioDeliveriesLo float64 `json:"ratio_deliveries_lo"`
	RatioDeliveriesHi float64 `json:"ratio_deliveries_hi"`
	// CPUUs is µs per delivery, both ends and the harness.
	CPUUs      float64 `json:"cpu_us"`
	RatioCPU   float64 `json:"ratio_cpu"`
	RatioCPULo float64 `json:"ratio_cpu_lo"`
	RatioCPUHi float64 `json:"ratio_cpu_hi"`
	// AllocsPerDelivery is without the harness's own.
	AllocsPerDelivery float64 `json:"allocs_per_delivery"`
	// RTT*Us are µs, medians of round trips. The ratio of the spinning one is
	// to rafthttp as it is: it has nothing that spins.
	// The fields of the spinning one are left out for ports that cannot spin.
	RTTBlockUs      float64 `json:"rtt_block_us"`
	RatioRTTBlock   float64 `json:"ratio_rtt_block"`
	RatioRTTBlockLo float64 `json:"ratio_rtt_block_lo"`
	RatioRTTBlockHi float64 `json:"ratio_rtt_block_hi"`
	RTTSpinUs       float64 `json:"rtt_spin_us,omitempty"`
	RatioRTTSpin    float64 `json:"ratio_rtt_spin,omitempty"`
	RatioRTTSpinLo  float64 `json:"ratio_rtt_spin_lo,omitempty"`
	RatioRTTSpinHi  float64 `json:"ratio_rtt_spin_hi,omitempty"`
	// RTT*P99Us: what one round trip in a hundred exceeds.
	RTTBlockP99Us float64 `json:"rtt_block_p99_us"`
	RTTSpinP99Us  float64 `json:"rtt_spin_p99_us,omitempty"`

	// Sent and Lost count the port's messages in all measurements, warm-ups
	// included. Only a port that promises nothing may lose any.
	Sent uint64 `json:"sent"`
	Lost uint64 `json:"lost"`

	Rafthttp Absolute `json:"rafthttp"`
	// Harness is what a transport that does nothing costs in this run.
	Harness Absolute `json:"harness"`
	Window  int      `json:"window"`
	Acks    bool     `json:"acks"`
	Pairs   int      `json:"pairs"`

	Origin
}

// Absolute are numbers of one side of a comparison.
type Absolute struct {
	DeliveriesPerS    float64 `json:"deliveries_per_s"`
	CPUUs             float64 `json:"cpu_us"`
	AllocsPerDelivery float64 `json:"allocs_per_delivery"`
	RTTBlockUs        float64 `json:"rtt_block_us,omitempty"`
	RTTBlockP99Us     float64 `json:"rtt_block_p99_us,omitempty"`
}

func (s *samples) result(cfg TransportConfig, c cell, null floodResult) TransportResult {
	r := TransportResult{
		Port: c.port.name, Members: c.members, Sealed: c.sealed, Size: cfg.Size, Window: cfg.Window, Acks: cfg.Acks, Pairs: cfg.Pairs,
		Origin: Here(), Sent: s.ours.sent + s.spin.sent, Lost: s.ours.lost + s.spin.lost,
		DeliveriesPerS:    Round(median(s.ours.perSecond)),
		CPUUs:             Round(median(s.ours.cpu)),
		AllocsPerDelivery: Round(max(0, median(s.ours.allocs)-null.allocs)),
		RTTBlockUs:        Round(median(s.ours.p50)),
		RTTBlockP99Us:     Round(median(s.ours.p99)),
		Rafthttp: Absolute{
			DeliveriesPerS: Round(median(s.base.perSecond)), CPUUs: Round(median(s.base.cpu)),
			AllocsPerDelivery: Round(max(0, median(s.base.allocs)-null.allocs)),
			RTTBlockUs:        Round(median(s.base.p50)), RTTBlockP99Us: Round(median(s.base.p99)),
		},
		Harness: Absolute{DeliveriesPerS: Round(null.perSecond), CPUUs: Round(null.cpu), AllocsPerDelivery: Round(null.allocs)},
	}
	ratios(s.ours.perSecond, s.base.perSecond).into(&r.RatioDeliveries, &r.RatioDeliveriesLo, &r.RatioDeliveriesHi)
	ratios(s.ours.cpu, s.base.cpu).into(&r.RatioCPU, &r.RatioCPULo, &r.RatioCPUHi)
	ratios(s.ours.p50, s.base.p50).into(&r.RatioRTTBlock, &r.RatioRTTBlockLo, &r.RatioRTTBlockHi)
	if len(s.spin.p50) > 0 {
		r.RTTSpinUs, r.RTTSpinP99Us = Round(median(s.spin.p50)), Round(median(s.spin.p99))
		ratios(s.spin.p50, s.base.p50).into(&r.RatioRTTSpin, &r.RatioRTTSpinLo, &r.RatioRTTSpinHi)
	}
	return r
}

func (i Interval) into(median, lo, hi *float64) {
	*median, *lo, *hi = Round(i.Median), Round(i.Lo), Round(i.Hi)
}

// WriteTransportTable writes results for people.
func WriteTransportTable(w io.Writer, results []TransportResult) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "port\tmembers\t\tdeliveries/s\t× rafthttp\tµs CPU\t× rafthttp\tallocs\tµs RTT\t× rafthttp\tµs spinning\t× rafthttp\t")
	for _, r := range results {
		spinning := "–\t–"
		if r.RTTSpinUs > 0 {
			spinning = fmt.Sprintf("%.1f\t%s", r.RTTSpinUs, interval(r.RatioRTTSpin, r.RatioRTTSpinLo, r.RatioRTTSpinHi))
		}
		fmt.Fprintf(t, "%s\t%d\t%s\t%.0f\t%s\t%.2f\t%s\t%.1f\t%.1f\t%s\t%s\t\n", r.Port, r.Members, sealedName(r.Sealed),
			r.DeliveriesPerS, interval(r.RatioDeliveries, r.RatioDeliveriesLo, r.RatioDeliveriesHi),
			r.CPUUs, interval(r.RatioCPU, r.RatioCPULo, r.RatioCPUHi), r.AllocsPerDelivery,
			r.RTTBlockUs, interval(r.RatioRTTBlock, r.RatioRTTBlockLo, r.RatioRTTBlockHi), spinning)
	}
	fmt.Fprintln(t, "\t\t\t\t\t\t\t\t\t\t\t\t")
	for _, r := range results {
		b := r.Rafthttp
		fmt.Fprintf(t, "rafthttp beside %s\t%d\t%s\t%.0f\t\t%.2f\t\t%.1f\t%.1f\t\t\t\t\n", r.Port, r.Members, sealedName(r.Sealed),
			b.DeliveriesPerS, b.CPUUs, b.AllocsPerDelivery, b.RTTBlockUs)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, r := range results {
		if r.Lost > 0 {
			fmt.Fprintf(w, "%s, %d members, %s: lost %d of %d messages, which it does not promise to deliver\n",
				r.Port, r.Members, sealedName(r.Sealed), r.Lost, r.Sent)
		}
	}
	return nil
}

func sealedName(sealed bool) string {
	if sealed {
		return Sealed
	}
	return Clear
}

func interval(median, lo, hi float64) string {
	return fmt.Sprintf("%.2f (%.2f–%.2f)", median, lo, hi)
}
