package swap

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/raftdv/dv/internal/needs"
	"github.com/raftdv/dv/raftdv/plug"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// preparedEnv names the file that go run ./integration/suites --prepare
// --suite e2e,validate printed.
const preparedEnv = "RAFTDV_SUITES_PREPARED"

// dirEnv names a folder for evidence that outlives the test.
const dirEnv = "RAFTDV_SWAP_DIR"

type programs struct{ stock, dv, checker string }

func prepared(t *testing.T) programs {
	t.Helper()
	needs.Asked(t, preparedEnv, "make rolling-swap")
	path := os.Getenv(preparedEnv)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var p struct {
		Sets map[string]map[string]string `json:"sets"`
	}
	if err := json.Unmarshal(text, &p); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return programs{
		stock:   filepath.Join(p.Sets["stock"]["bin/e2e"], "etcd"),
		dv:      filepath.Join(p.Sets["dv"]["bin/e2e"], "etcd"),
		checker: p.Sets["stock"]["validate"],
	}
}

// evidence returns a folder that is kept if the caller named one, or if the
// test failed.
func evidence(t *testing.T) string {
	t.Helper()
	if dir := os.Getenv(dirEnv); dir != "" {
		dir = filepath.Join(dir, filepath.Base(t.Name()))
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	dir, err := os.MkdirTemp("", "raftdv-swap-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("evidence: %s", dir)
			return
		}
		os.RemoveAll(dir)
	})
	return dir
}

// TestRollingSwap holds T1 and T2 of the protocol: no acknowledged write is
// lost, the history is linearizable, and members are swapped in either
// direction while the cluster works.
func TestRollingSwap(t *testing.T) {
	p := prepared(t)
	for _, c := range []struct {
		name string
		tls  bool
	}{{"clear", false}, {"tls", true}} {
		t.Run(c.name, func(t *testing.T) {
			dir := evidence(t)
			r, err := Run(t.Context(), Config{Stock: p.stock, DV: p.dv, Dir: filepath.Join(dir, "cluster"), TLS: c.tls, Env: settings()}, t.Output())
			if err != nil {
				t.Fatal(err)
			}
			if err := CheckHistory(r.History); err != nil {
				t.Error(err)
			}
			checkRoads(t, r)
			judge := func(h *History) error {
				return Validate(t.Context(), p.checker, h, r.DataDirs, filepath.Join(dir, "report"))
			}
			if err := judge(r.History); err != nil {
				t.Error(err)
			}
			if t.Failed() {
				return
			}
			dir = t.TempDir() // the report stays that of the true history
			for name, plant := range plants {
				h, err := plant.in(r.History)
				if err != nil {
					t.Fatalf("plant %s: %v", name, err)
				}
				if err := judge(h); plant.linearizable != (err == nil) || err != nil && !errors.Is(err, ErrNotLinearizable) {
					t.Errorf("%s: etcd's checker says %v", name, err)
				}
				if err := CheckHistory(h); !errors.Is(err, plant.want) {
					t.Errorf("%s: the check of histories says %v, want %v", name, err, plant.want)
				}
			}
		})
	}
}

// settings passes the transport's settings on to the members.
func settings() map[string]string {
	env := map[string]string{}
	for _, kv := range os.Environ() {
		if name, value, _ := strings.Cut(kv, "="); strings.HasPrefix(name, plug.EnvPrefix) {
			env[name] = value
		}
	}
	return env
}

// checkRoads: a swap that never left rafthttp, or that sent frames to a stock
// peer, proves nothing.
func checkRoads(t *testing.T, r *Report) {
	t.Helper()
	if os.Getenv(plug.FlagToEnv("dv-mode")) == string(plug.Off) {
		t.Log("the transport is switched off: roads are not checked")
		return
	}
	for _, s := range r.Steps {
		if s.Roads.Wrong > 0 {
			t.Errorf("%s of %s: %d fabrics to stock peers", s.What, s.Member, s.Roads.Wrong)
		}
	}
	last := r.Steps[len(r.Steps)-1].Roads
	if want := members * (members - 1); last.Fabric != want {
		t.Errorf("in the end %d of %d roads are fabrics: %+v", last.Fabric, want, last)
	}
}

// A plant puts one fault into a true history.
type plant struct {
	in           func(*History) (*History, error)
	want         error // of CheckHistory
	linearizable bool
}

var errNowhere = errors.New("the history has no place for it")

var plants = map[string]plant{
	"lost write":      {in: loseWrite, want: ErrLost},
	"lost last write": {in: loseLastWrite, want: ErrLost, linearizable: true},
	"stale read":      {in: staleRead},
	"nothing":         {in: func(h *History) (*History, error) { return clone(h), nil }, linearizable: true},
}

func clone(h *History) *History {
	c := &History{Members: map[string][]Event{}}
	for _, ops := range h.Clients {
		c.Clients = append(c.Clients, slices.Clone(ops))
	}
	for name, events := range h.Members {
		c.Members[name] = slices.Clone(events)
	}
	return c
}

// loseWrite adds an acknowledged write in the middle that no member has.
func loseWrite(h *History) (*History, error) {
	h = clone(h)
	for c, ops := range h.Clients {
		for i := len(ops) / 2; i+1 < len(ops); i++ {
			if _, wrote := ops[i].write(); !wrote || ops[i+1].Call-ops[i].Return < 3 || ops[i+1].ClientID != ops[i].ClientID {
				continue
			}
			h.Clients[c] = slices.Insert(ops, i+1, inventedPut(ops[i], ops[i].Output.Revision))
			return h, nil
		}
	}
	return nil, errNowhere
}

// loseLastWrite adds an acknowledged write after everything else, which an
// order can be found for: only the members' histories tell.
func loseLastWrite(h *History) (*History, error) {
	h = clone(h)
	ops := h.Clients[len(h.Clients)-1]
	last := ops[len(ops)-1]
	h.Clients[len(h.Clients)-1] = append(ops, inventedPut(last, last.Output.Revision+1))
	return h, nil
}

func inventedPut(after Op, revision int64) Op {
	return Op{
		ClientID: after.ClientID, Call: after.Return + 1, Return: after.Return + 2,
		Input:  Request{Type: typeTxn, Txn: &Txn{OperationsOnSuccess: []TxnOp{putOp(key(0), "invented")}}},
		Output: Response{Txn: &TxnResult{Results: []OpResult{{}}}, Revision: revision, MemberID: after.Output.MemberID},
	}
}

// staleRead makes a read return what an earlier one of the same key returned,
// although a client had seen the key change between them.
func staleRead(h *History) (*History, error) {
	h = clone(h)
	for c, ops := range h.Clients {
		earlier := map[string]Op{}
		for i, op := range ops {
			if op.Input.Type != typeRange || op.Input.Range.End != "" || !op.acked() {
				continue
			}
			was, ok := earlier[op.Input.Range.Start]
			earlier[op.Input.Range.Start] = op
			if ok && i > len(ops)/2 && was.Output.Revision < op.Output.Revision {
				h.Clients[c][i].Output = was.Output
				return h, nil
			}
		}
	}
	return nil, errNowhere
}
