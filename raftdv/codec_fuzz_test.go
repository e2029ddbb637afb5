package raftdv

import (
	"bytes"
	"errors"
	"runtime"
	"testing"

	"google.golang.org/protobuf/proto"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/raftdv/dv/fabric"
)

// FuzzCodec: whatever protobuf can express survives the codec.
func FuzzCodec(f *testing.F) {
	for _, m := range codecSamples() {
		b, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	var d Decoder
	f.Fuzz(func(t *testing.T, b []byte) {
		var m raftpb.Message
		if proto.Unmarshal(b, &m) != nil {
			return
		}
		err := roundTrip(&d, &m)
		if nested(&m) > maxNested {
			if !errors.Is(err, ErrBadMessage) {
				t.Fatalf("%d nested messages: %v", nested(&m), err)
			}
		} else if err != nil {
			t.Fatal(err)
		}
	})
}

func nested(m *raftpb.Message) int {
	n := len(m.Responses)
	for _, r := range m.Responses {
		n += len(r.Entries) + nested(r)
	}
	return n
}

// FuzzDecode: no bytes make the decoder panic or take memory that they did not
// pay for, and what is accepted has one encoding.
func FuzzDecode(f *testing.F) {
	for _, m := range codecSamples() {
		fr := encodeFrame(m)
		f.Add(fr.Patch, fr.Body)
	}
	f.Fuzz(func(t *testing.T, patch, body []byte) {
		var d Decoder
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		m, err := d.Decode(&fabric.Frame{Patch: patch, Body: body})
		runtime.ReadMemStats(&after)
		if took := after.TotalAlloc - before.TotalAlloc; took > uint64(512<<10+16*(len(patch)+len(body))) {
			t.Fatalf("%d bytes took %d of memory", len(patch)+len(body), took)
		}
		if err != nil {
			if !errors.Is(err, ErrBadMessage) && !errors.Is(err, ErrMessageVersion) {
				t.Fatalf("untyped error: %v", err)
			}
			return
		}
		checkReencoding(t, m, patch, body)
	})
}

// checkReencoding: identical bytes, but for what went through protobuf, which
// has many encodings: there the message must be equal.
func checkReencoding(t *testing.T, m *raftpb.Message, patch, body []byte) {
	var h PatchHeader
	if err := ParsePatch(patch, &h); err != nil {
		t.Fatal(err)
	}
	again := encodeFrame(m)
	if !h.IsProto() && !bytes.Equal(again.Patch, patch) {
		t.Fatalf("patch %x is encoded as %x", patch, again.Patch)
	}
	if !h.IsProto() && !hasProtoEntries(body) && !bytes.Equal(again.Body, body) {
		t.Fatalf("body %x is encoded as %x", body, again.Body)
	}
	var d Decoder
	m2, err := d.Decode(again)
	if err != nil || !proto.Equal(m, m2) {
		t.Fatalf("%v becomes %v, %v", m, m2, err)
	}
}

func hasProtoEntries(body []byte) bool {
	var l entryLayout
	if l.parse(body) != nil {
		return false
	}
	for i := range l.n {
		if l.headers[i*entryHeader] == entryProto {
			return true
		}
	}
	return false
}
