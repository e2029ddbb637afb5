package swap

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
)

// The types below are written as etcd's robustness reports are, so that
// etcd's checker reads them. Where a slice is empty there and not nil it is
// so here: the checker compares deeply.

// An Op is a request of a client and what came of it.
type Op struct {
	ClientID int // a stream of requests one after the other
	Input    Request
	Call     int64 // ns since the start of the run
	Output   Response
	Return   int64
}

// A Request is a read or a transaction. A put is a transaction without
// conditions.
type Request struct {
	Type  string // range or txn
	Range *Range `json:",omitempty"`
	Txn   *Txn   `json:",omitempty"`
}

const (
	typeRange   = "range"
	typeTxn     = "txn"
	opRange     = "range-operation"
	opPut       = "put-operation"
	maxPlainLen = 20 // longer values are hashed by the checker
)

// A Range is a linearizable read of a key, or of all keys below End.
type Range struct {
	Start, End string
	Limit      int64
	KeysOnly   bool
	Revision   int64
}

// A Txn does Success if all conditions hold, else Failure.
type Txn struct {
	Conditions          []Condition
	OperationsOnSuccess []TxnOp
	OperationsOnFailure []TxnOp
}

// A Condition is on the revision of a key's last change.
type Condition struct {
	Key              string
	ExpectedRevision int64
	ExpectedVersion  int64
}

// A TxnOp is a part of a Txn.
type TxnOp struct {
	Type  string
	Range Range
	Put   Put
}

// A Put writes a key.
type Put struct {
	Key     string
	Value   Value
	LeaseID int64
}

// A Value is shorter than maxPlainLen.
type Value struct {
	Value string `json:",omitempty"`
}

// A Response says what a client got; Error alone is set where it is unknown
// whether the request took effect.
type Response struct {
	Txn      *TxnResult   `json:",omitempty"`
	Range    *RangeResult `json:",omitempty"`
	Revision int64
	MemberID string `json:"member-id,omitempty"`
	Error    string `json:",omitempty"`
}

// A TxnResult has a result for each operation that was done.
type TxnResult struct {
	Failure bool
	Results []OpResult
}

// An OpResult is empty for a put.
type OpResult struct {
	RangeResult
	Deleted int64
}

// A RangeResult is what a read found.
type RangeResult struct {
	KVs   []KV
	Count int64
}

// A KV is a key as a read found it.
type KV struct {
	Key         string
	Value       Value
	ModRevision int64
	Version     int64
}

func rangeResult(kvs []*mvccpb.KeyValue, count int64) RangeResult {
	r := RangeResult{KVs: make([]KV, len(kvs)), Count: count}
	for i, kv := range kvs {
		r.KVs[i] = KV{string(kv.Key), Value{string(kv.Value)}, kv.ModRevision, kv.Version}
	}
	return r
}

// acked says whether the client knows what became of the request.
func (o Op) acked() bool { return o.Output.Error == "" }

// write returns what the operation wrote, if it was acknowledged as written.
func (o Op) write() (Put, bool) {
	if o.Input.Txn == nil || !o.acked() || o.Output.Txn.Failure {
		return Put{}, false
	}
	return o.attempt()
}

// attempt returns what the operation writes if it succeeds.
func (o Op) attempt() (Put, bool) {
	if o.Input.Txn == nil {
		return Put{}, false
	}
	for _, op := range o.Input.Txn.OperationsOnSuccess {
		if op.Type == opPut {
			return op.Put, true
		}
	}
	return Put{}, false
}

// A History is what all clients did and what each member says of it.
type History struct {
	// Clients are the operations of each client, in order.
	Clients [][]Op
	// Members are the events that each member serves from its first revision
	// to its last, by name.
	Members map[string][]Event
}

// An Event is one change of a key, as a watch reports it.
type Event struct {
	Type     string
	Key      string
	Value    Value
	Revision int64
	IsCreate bool
}

// ops returns the operations of all clients by the time of their return.
func (h *History) ops() []Op {
	all := slices.Concat(h.Clients...)
	slices.SortStableFunc(all, func(a, b Op) int { return int(a.Return - b.Return) })
	return all
}

// watch is a member's history in the form of a robustness report.
type watch struct {
	Request struct {
		Key        string
		Revision   int64
		WithPrefix bool
	}
	Responses []watchResponse
}

type watchResponse struct {
	Events   []Event
	Revision int64
	Time     time.Duration
}

// Save writes the history as a robustness report: a folder for each client.
// Each member's events are those of a client that only watched.
func (h *History) Save(dir string) error {
	n := 0
	for _, ops := range h.Clients {
		n++
		if err := saveAll(clientFile(dir, n, "operations.json"), ops); err != nil {
			return err
		}
	}
	for _, events := range h.Members {
		n++
		if err := saveAll(clientFile(dir, n, "watch.json"), []watch{asWatch(events)}); err != nil {
			return err
		}
	}
	return nil
}

func clientFile(dir string, n int, name string) string {
	return filepath.Join(dir, "client-"+strconv.Itoa(n), name)
}

// asWatch puts the events of one revision into one response, as a watch does.
func asWatch(events []Event) watch {
	var w watch
	w.Request.Revision, w.Request.WithPrefix = 1, true
	for _, e := range events {
		if n := len(w.Responses); n > 0 && w.Responses[n-1].Revision == e.Revision {
			w.Responses[n-1].Events = append(w.Responses[n-1].Events, e)
			continue
		}
		w.Responses = append(w.Responses, watchResponse{Events: []Event{e}, Revision: e.Revision, Time: time.Duration(len(w.Responses) + 1)})
	}
	return w
}

// saveAll writes one JSON value after the other.
func saveAll[T any](path string, all []T) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	enc := json.NewEncoder(f)
	for _, v := range all {
		if err := enc.Encode(v); err != nil {
			return errors.Join(fmt.Errorf("write %s: %w", path, err), f.Close())
		}
	}
	return f.Close()
}
