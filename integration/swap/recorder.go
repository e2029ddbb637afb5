package swap

import (
	"context"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// A clock gives times since the start of the run, for all clients.
type clock struct{ begin time.Time }

func (c clock) now() int64 { return int64(time.Since(c.begin)) }

// A recorder is a client that notes what it does. It is used by one
// goroutine.
type recorder struct {
	kv      clientv3.KV
	clock   clock
	streams *atomic.Int64 // shared by all recorders
	timeout time.Duration

	stream int
	last   int64 // the latest time in ops
	ops    []Op
}

func newRecorder(kv clientv3.KV, c clock, streams *atomic.Int64, timeout time.Duration) *recorder {
	return &recorder{kv: kv, clock: c, streams: streams, timeout: timeout, stream: int(streams.Add(1))}
}

// do runs a request and notes it. After a write of which nobody knows whether
// it took effect, or when, a new stream begins: it may still be under way.
func (r *recorder) do(ctx context.Context, req Request, send func(context.Context) (Response, error)) error {
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	op := Op{ClientID: r.stream, Input: req, Call: r.tick()}
	out, err := send(ctx)
	op.Return = r.tick()
	if err != nil {
		out = Response{Error: err.Error()}
	}
	op.Output = out
	r.ops = append(r.ops, op)
	if err != nil && req.Type != typeRange {
		r.stream = int(r.streams.Add(1))
	}
	return err
}

// tick returns a time that is later than the one before.
func (r *recorder) tick() int64 {
	r.last = max(r.clock.now(), r.last+1)
	return r.last
}

func memberID(id uint64) string { return strconv.FormatUint(id, 16) }

// get reads a key, or all keys from it to end.
func (r *recorder) get(ctx context.Context, key, end string) (kvs []KV, err error) {
	req := Request{Type: typeRange, Range: &Range{Start: key, End: end}}
	err = r.do(ctx, req, func(ctx context.Context) (Response, error) {
		var opts []clientv3.OpOption
		if end != "" {
			opts = append(opts, clientv3.WithRange(end))
		}
		resp, err := r.kv.Get(ctx, key, opts...)
		if err != nil {
			return Response{}, err
		}
		found := rangeResult(resp.Kvs, resp.Count)
		kvs = found.KVs
		return Response{Range: &found, Revision: resp.Header.Revision, MemberID: memberID(resp.Header.MemberId)}, nil
	})
	return kvs, err
}

func (r *recorder) put(ctx context.Context, key, value string) error {
	req := Request{Type: typeTxn, Txn: &Txn{OperationsOnSuccess: []TxnOp{putOp(key, value)}}}
	return r.do(ctx, req, func(ctx context.Context) (Response, error) {
		resp, err := r.kv.Put(ctx, key, value)
		if err != nil {
			return Response{}, err
		}
		return Response{
			Txn:      &TxnResult{Results: []OpResult{{}}},
			Revision: resp.Header.Revision, MemberID: memberID(resp.Header.MemberId),
		}, nil
	})
}

// swapIf writes key if its last change was at the given revision, and reads it
// otherwise.
func (r *recorder) swapIf(ctx context.Context, key string, revision int64, value string) error {
	req := Request{Type: typeTxn, Txn: &Txn{
		Conditions:          []Condition{{Key: key, ExpectedRevision: revision}},
		OperationsOnSuccess: []TxnOp{putOp(key, value)},
		OperationsOnFailure: []TxnOp{getOp(key)},
	}}
	return r.txn(ctx, req, func(t clientv3.Txn) clientv3.Txn {
		return t.If(clientv3.Compare(clientv3.ModRevision(key), "=", revision)).
			Then(clientv3.OpPut(key, value)).Else(clientv3.OpGet(key))
	})
}

// readAndWrite reads one key and writes another in one transaction.
func (r *recorder) readAndWrite(ctx context.Context, read, write, value string) error {
	req := Request{Type: typeTxn, Txn: &Txn{OperationsOnSuccess: []TxnOp{getOp(read), putOp(write, value)}}}
	return r.txn(ctx, req, func(t clientv3.Txn) clientv3.Txn {
		return t.Then(clientv3.OpGet(read), clientv3.OpPut(write, value))
	})
}

func (r *recorder) txn(ctx context.Context, req Request, build func(clientv3.Txn) clientv3.Txn) error {
	return r.do(ctx, req, func(ctx context.Context) (Response, error) {
		resp, err := build(r.kv.Txn(ctx)).Commit()
		if err != nil {
			return Response{}, err
		}
		results := make([]OpResult, len(resp.Responses))
		for i, one := range resp.Responses {
			if found := one.GetResponseRange(); found != nil {
				results[i].RangeResult = rangeResult(found.Kvs, found.Count)
			}
		}
		return Response{
			Txn:      &TxnResult{Failure: !resp.Succeeded, Results: results},
			Revision: resp.Header.Revision, MemberID: memberID(resp.Header.MemberId),
		}, nil
	})
}

func putOp(key, value string) TxnOp {
	if len(value) >= maxPlainLen {
		panic(fmt.Sprintf("value %q: the checker wants it shorter than %d", value, maxPlainLen))
	}
	return TxnOp{Type: opPut, Put: Put{Key: key, Value: Value{value}}}
}

func getOp(key string) TxnOp { return TxnOp{Type: opRange, Range: Range{Start: key}} }
