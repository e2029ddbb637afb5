package fabrictest

import (
	"os"
	"strings"
	"testing"
)

// planted lists bugs of the reference port, one for each line of the contract:
// the case that must find it, and what it must say.
// plant is a bug of the reference port, the case that is to find it, and what that says.
type plant struct{ bug, name, says string }

var planted = []plant{
	{"frames change places", "order/batches", "F1"},
	{"a frame arrives twice", "order/batches", "twice"},
	{"large frames are cut short", "order/sizes", "not what was sent"},
	{"all destinations get the first one's patch", "order/multicast", "P6"},
	{"the sender is taken from elsewhere", "order/mesh", "P4"},
	{"the stamp is dropped", "order/fields", "stamp"},
	{"link sequences start at 0", "order/fields", "expects link sequence 1"},
	{"bulk goes first", "order/lanes", "overtook"},
	{"lanes share their credit", "order/lanes", "credit of their own"},
	{"a frame is numbered before it is queued", "order/concurrent senders", "F1"},
	{"a void is delivered", "order/void", "KindVoid"},

	{"a ticket resolves twice", "tickets/acked", "after it was settled"},
	{"a ticket is forgotten", "tickets/acked", "not resolved"},
	{"acked and dropped", "tickets/acked", "never delivered"},
	{"a resolution names the wrong lane", "tickets/acked", "resolved in"},
	{"acks of ticket 0 are reported", "tickets/zero", "ticket 0"},
	{"acks what it has not sent yet", "tickets/loss", "acked"},
	{"the dead ack", "tickets/dead receiver", "was dead when it was sent"},
	{"a loss is called an ack", "tickets/loss", "acked through a cut link"},
	{"a loss does not wrap ErrLost", "tickets/loss", "ErrLost"},
	{"a loss is silent", "tickets/loss", "missing"},
	{"gaps are not reported", "tickets/loss", "expects link sequence"},
	{"a gap names the wrong numbers", "tickets/loss", "gap"},
	{"a slow receiver's frames are dropped", "tickets/slow receiver", "never delivered"},
	{"what was not acked is delivered again", "tickets/acks lost", "twice"},
	{"a cut loses frames silently", "tickets/short cuts", "F1"},
	{"tickets do not time out", "tickets/stuck receiver", "not resolved"},

	{"Send blocks", "credit/refused", "Send never blocks"},
	{"an unbounded queue", "credit/large frames", "F3"},
	{"an unbounded queue", "credit/one batch", "F3"},
	{"empty frames weigh nothing", "credit/empty frames", "F3"},
	{"what waits for the dead has no bound", "credit/dead receiver", "F3"},
	{"an unknown peer is called down", "refused/unknown peer", "unknown peer"},
	{"credit leaks", "credit/large frames", "credit comes back"},
	{"a destination without credit spoils the others", "credit/refused", "with credit was refused"},
	{"an untyped refusal", "credit/refused", "SendError"},
	{"refused and sent", "credit/refused", ""},
	{"nothing is too large", "refused/too large", "too large"},
	{"a bad frame spoils the batch", "refused/bad frame", "want frame 1"},

	{"an old row comes back", "rows/newest", "only rise"},
	{"keeps the caller's row", "rows/newest", "not what was published"},
	{"prompt is ignored", "rows/prompt", "arrives"},
	{"rows are not withheld", "rows/withheld", "withheld from it"},
	{"rows are withheld for good", "rows/withheld", "arrives"},
	{"stale rows are accepted", "rows/refused", "ErrStaleRow"},
	{"every version of a row is queued", "rows/latest wins", "kept for a stuck receiver"},
	{"a row is sent once", "rows/cut", "arrives"},
	{"rows race", "rows/concurrent", ""},
	{"the row of an old incarnation comes back", "rows/restart", "arrives"},

	{"keeps the caller's bytes", "handler/bytes", "not what was sent"},
	{"bytes are overwritten during Deliver", "handler/bytes", "not what was sent"},
	{"handler calls run at the same time", "handler/serial", "same time"},
	{"rows do not wait for other calls", "handler/serial", "same time"},
	{"a frame arrives twice", "handler/reenters", "twice"},

	{"a peer's death is not told", "life/kill", "told that the link is down"},
	{"a link is down without a reason", "life/kill", "without a reason"},
	{"frames of an earlier incarnation arrive", "life/sender restarts", "earlier incarnation"},
	{"frames of a dead receiver go to its next incarnation", "life/receiver restarts", "twice"},

	{"a restart keeps the incarnation", "life/closed and restarted", "new incarnation"},

	{"Close does not resolve", "close/under load", "not resolved when Close"},
	{"Close blames the link", "close/under load", "another reason than ErrClosed"},
	{"delivers after Close", "close/receiver", "P9"},
	{"a port that was closed says nothing", "close/afterwards", "after Close"},
	{"a second Close fails", "close/afterwards", "later Close"},
	{"Close does not wait", "close/waits", "handler call was running"},
	{"Close leaves a goroutine", "close/leaks", "goroutines"},

	{"capabilities change", "report/capabilities", "P8"},
	{"the clock goes back", "report/clock", "went back"},
	{"the clock is further off than it says", "report/clock", "off by"},
	{"a counter falls", "report/stats", "fell"},
	{"refusals are not counted", "credit/refused", "NoCredit"},
	{"the queue is misreported", "report/stats", "Queued"},
}

// TestSuiteFindsPlantedBugs is the suite's own negative control.
func TestSuiteFindsPlantedBugs(t *testing.T) {
	only := os.Getenv("FABRICTEST_BUG")
	for _, p := range planted {
		if only != "" && !strings.Contains(p.bug, only) {
			continue
		}
		if raceEnabled && races[p.bug] {
			continue // TestNoRacePlanted has it
		}
		t.Run(p.bug+" - "+p.name, func(t *testing.T) {
			if p.name != "close/leaks" { // it counts goroutines
				t.Parallel()
			}
			p.find(t)
		})
	}
}

// find runs the case that is to see the bug.
func (p *plant) find(t *testing.T) {
	found := Violations(t, refFactory(p.bug), p.name)
	for _, v := range found {
		if strings.Contains(v.Message, p.says) {
			t.Logf("found: %s", v.Message)
			return
		}
	}
	t.Errorf("%s does not find that %q with %q; it says %q", p.name, p.bug, p.says, found)
}

// TestEveryCaseFindsABug: a case that never fails checks nothing.
func TestEveryCaseFindsABug(t *testing.T) {
	finds := map[string]bool{}
	for _, p := range planted {
		finds[p.name] = true
	}
	for _, name := range Cases() {
		if !finds[name] {
			t.Errorf("no planted bug is to be found by case %q", name)
		}
	}
}

// races are bugs that are data races: with the race detector, that finds them before
// the suite does.
var races = map[string]bool{
	"keeps the caller's bytes": true, "keeps the caller's row": true, "bytes are overwritten during Deliver": true,
}
