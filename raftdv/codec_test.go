package raftdv

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/raftdv/dv/fabric"
)

var updateGolden = flag.Bool("update-golden", false, "write the golden files of the codec and the metrics anew")

func entriesOf(term, first uint64, data ...string) []*raftpb.Entry {
	var list []*raftpb.Entry
	for i, d := range data {
		list = append(list, &raftpb.Entry{Term: new(term), Index: new(first + uint64(i)), Type: raftpb.EntryNormal.Enum(), Data: []byte(d)})
	}
	return list
}

// codecSamples holds one message of every shape that raft sends, and the
// shapes that only the protobuf form or the presence bits can carry.
func codecSamples() map[string]*raftpb.Message {
	head := func(t raftpb.MessageType) *raftpb.Message {
		return &raftpb.Message{Type: t.Enum(), From: new(uint64(0x8e9e05c52164694d)), To: new(uint64(0x91bc3c398fb3c146)), Term: new(uint64(7))}
	}
	with := func(t raftpb.MessageType, change func(*raftpb.Message)) *raftpb.Message {
		m := head(t)
		change(m)
		return m
	}
	unknown := []byte{0xf8, 0x06, 0x2a} // field 111, varint 42
	s := map[string]*raftpb.Message{
		"app": with(raftpb.MsgApp, func(m *raftpb.Message) {
			m.Index, m.LogTerm, m.Commit = new(uint64(41)), new(uint64(6)), new(uint64(40))
			m.Entries = entriesOf(7, 42, "first", "", "third")
			m.Entries[1].Type = raftpb.EntryConfChangeV2.Enum()
		}),
		"app-empty": with(raftpb.MsgApp, func(m *raftpb.Message) {
			m.Index, m.LogTerm, m.Commit = new(uint64(41)), new(uint64(6)), new(uint64(40))
		}),
		"appresp": with(raftpb.MsgAppResp, func(m *raftpb.Message) { m.Index = new(uint64(42)) }),
		"appresp-reject": with(raftpb.MsgAppResp, func(m *raftpb.Message) {
			m.Index, m.Reject, m.RejectHint, m.LogTerm = new(uint64(42)), new(true), new(uint64(12)), new(uint64(3))
		}),
		"vote": with(raftpb.MsgVote, func(m *raftpb.Message) {
			m.Index, m.LogTerm, m.Context = new(uint64(9)), new(uint64(3)), []byte("CampaignTransfer")
		}),
		"vote-resp":      with(raftpb.MsgVoteResp, func(m *raftpb.Message) { m.Reject = new(false) }),
		"heartbeat":      with(raftpb.MsgHeartbeat, func(m *raftpb.Message) { m.Commit = new(uint64(40)) }),
		"heartbeat-read": with(raftpb.MsgHeartbeat, func(m *raftpb.Message) { m.Context = []byte{3, 0, 0, 0, 0, 0, 0, 0} }),
		"prop": {Type: raftpb.MsgProp.Enum(), From: new(uint64(1)), To: new(uint64(2)),
			Entries: []*raftpb.Entry{{Data: []byte("put")}, {}, {Data: []byte{}}, {Type: raftpb.EntryConfChange.Enum()}}},
		"snap": with(raftpb.MsgSnap, func(m *raftpb.Message) {
			m.Snapshot = &raftpb.Snapshot{Data: []byte("image"), Metadata: &raftpb.SnapshotMetadata{
				ConfState: &raftpb.ConfState{Voters: []uint64{1, 2, 3}}, Index: new(uint64(40)), Term: new(uint64(6))}}
		}),
		"long-context": with(raftpb.MsgReadIndex, func(m *raftpb.Message) {
			m.Context = bytes.Repeat([]byte("c"), maxPatchContext+1)
			m.Entries = entriesOf(0, 0, "ctx")
		}),
		"responses": with(raftpb.MsgStorageAppend, func(m *raftpb.Message) {
			m.Vote = new(uint64(3))
			m.Responses = []*raftpb.Message{head(raftpb.MsgAppResp), {Entries: entriesOf(1, 1, "x")}}
		}),
		"no-type":       {From: new(uint64(1))},
		"large-type":    {Type: raftpb.MessageType(300).Enum()},
		"negative-type": {Type: raftpb.MessageType(-1).Enum()},
		"empty":         {Type: raftpb.MsgHup.Enum()},
		"empty-context": with(raftpb.MsgHeartbeat, func(m *raftpb.Message) { m.Context = []byte{} }),
		"full-context":  with(raftpb.MsgHeartbeat, func(m *raftpb.Message) { m.Context = bytes.Repeat([]byte("c"), maxPatchContext) }),
		"all-zero":      {Type: raftpb.MsgHup.Enum(), From: new(uint64(0)), To: new(uint64(0)), Term: new(uint64(0)), LogTerm: new(uint64(0)), Index: new(uint64(0)), Commit: new(uint64(0)), Vote: new(uint64(0)), Reject: new(false), RejectHint: new(uint64(0))},
		"largest":       {Type: raftpb.MessageType(254).Enum(), From: new(uint64(math.MaxUint64)), Vote: new(uint64(math.MaxUint64)), RejectHint: new(uint64(math.MaxUint64))},
		"entry-type": with(raftpb.MsgApp, func(m *raftpb.Message) {
			m.Entries = []*raftpb.Entry{{Type: raftpb.EntryType(256).Enum(), Data: []byte("d")}}
		}),
		"entry-type-neg": with(raftpb.MsgApp, func(m *raftpb.Message) {
			m.Entries = []*raftpb.Entry{{Type: raftpb.EntryType(-7).Enum()}, {Index: new(uint64(1))}}
		}),
		"entry-all-zero": with(raftpb.MsgApp, func(m *raftpb.Message) {
			m.Entries = []*raftpb.Entry{{Term: new(uint64(0)), Index: new(uint64(0)), Type: raftpb.EntryNormal.Enum(), Data: []byte{}}}
		}),
		"unknown-message": head(raftpb.MsgApp),
		"unknown-entry":   with(raftpb.MsgApp, func(m *raftpb.Message) { m.Entries = entriesOf(7, 1, "a", "b") }),
	}
	s["unknown-message"].ProtoReflect().SetUnknown(unknown)
	s["unknown-message"].Entries = entriesOf(7, 1, "beside")
	s["unknown-entry"].Entries[1].ProtoReflect().SetUnknown(unknown)
	return s
}

func encodeFrame(m *raftpb.Message) *fabric.Frame {
	return &fabric.Frame{Patch: AppendPatch(nil, m), Body: AppendBody(nil, m)}
}

// roundTrip is the property that the codec exists for.
func roundTrip(d *Decoder, m *raftpb.Message) error {
	f := encodeFrame(m)
	if len(f.Patch) > fabric.MaxPatch {
		return fmt.Errorf("patch of %d bytes", len(f.Patch))
	}
	got, err := d.Decode(f)
	if err != nil {
		return err
	}
	clear(f.Patch) // nothing decoded may point into the frame
	clear(f.Body)
	if !proto.Equal(m, got) {
		return fmt.Errorf("sent %v, got %v", m, got)
	}
	return nil
}

func TestCodecRoundTrip(t *testing.T) {
	var d Decoder
	for name, m := range codecSamples() {
		if err := roundTrip(&d, m); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestCodecPresence goes through every combination of set, zero and absent
// fields of a message.
func TestCodecPresence(t *testing.T) {
	var d Decoder
	for bits := range 1 << 11 {
		m := &raftpb.Message{Type: raftpb.MsgApp.Enum()}
		set := func(i int, p **uint64, v uint64) {
			if bits&(1<<i) != 0 {
				*p = new(v * uint64(bits>>10&1))
			}
		}
		set(0, &m.From, 1)
		set(1, &m.To, 2)
		set(2, &m.Term, 3)
		set(3, &m.Index, 4)
		set(4, &m.LogTerm, 5)
		set(5, &m.Commit, 6)
		set(6, &m.Vote, 7)
		set(7, &m.RejectHint, 8)
		if bits&(1<<8) != 0 {
			m.Reject = new(bits&(1<<10) != 0)
		}
		if bits&(1<<9) != 0 {
			m.Context = make([]byte, bits>>10*9)
		}
		if err := roundTrip(&d, m); err != nil {
			t.Fatalf("%#x: %v", bits, err)
		}
	}
}

// brokenCodecs are mistakes that a codec can make; roundTrip must see each.
func TestCodecRoundTripSeesMistakes(t *testing.T) {
	for name, spoil := range map[string]func(f *fabric.Frame){
		"presence of Reject lost": func(f *fabric.Frame) { f.Patch[3] &^= byte(patchReject >> 8) },
		"data swapped": func(f *fabric.Frame) {
			f.Body[len(f.Body)-1], f.Body[len(f.Body)-2] = f.Body[len(f.Body)-2], f.Body[len(f.Body)-1]
		},
		"entry without its type": func(f *fabric.Frame) { f.Body[bodyHeader] &^= entryType },
		"commit of another":      func(f *fabric.Frame) { f.Patch[48]++ },
	} {
		m := codecSamples()["app"]
		m.Reject = new(false)
		f := encodeFrame(m)
		spoil(f)
		var d Decoder
		if got, err := d.Decode(f); err == nil && proto.Equal(m, got) {
			t.Errorf("%s: not noticed", name)
		}
	}
}

func drawMessage(t *rapid.T) *raftpb.Message {
	u64 := func(name string) *uint64 {
		if !rapid.Bool().Draw(t, name+" set") {
			return nil
		}
		return new(rapid.Uint64().Draw(t, name))
	}
	blob := func(name string, limit int) []byte {
		if !rapid.Bool().Draw(t, name+" set") {
			return nil
		}
		return rapid.SliceOfN(rapid.Byte(), 0, limit).Draw(t, name)
	}
	m := &raftpb.Message{
		From: u64("from"), To: u64("to"), Term: u64("term"), Index: u64("index"), LogTerm: u64("logterm"),
		Commit: u64("commit"), Vote: u64("vote"), RejectHint: u64("hint"), Context: blob("context", 600),
	}
	if rapid.Bool().Draw(t, "typed") {
		m.Type = raftpb.MessageType(rapid.Int32Range(-2, 300).Draw(t, "type")).Enum()
	}
	if rapid.Bool().Draw(t, "reject set") {
		m.Reject = new(rapid.Bool().Draw(t, "reject"))
	}
	for range rapid.IntRange(0, 5).Draw(t, "entries") {
		e := &raftpb.Entry{Term: u64("entry term"), Index: u64("entry index"), Data: blob("data", 20)}
		if rapid.Bool().Draw(t, "entry typed") {
			e.Type = raftpb.EntryType(rapid.Int32Range(-1, 260).Draw(t, "entry type")).Enum()
		}
		m.Entries = append(m.Entries, e)
	}
	if rapid.IntRange(0, 9).Draw(t, "snapshot") == 0 {
		m.Snapshot = &raftpb.Snapshot{Data: blob("image", 100)}
	}
	return m
}

func TestCodecProperty(t *testing.T) {
	var d Decoder
	rapid.Check(t, func(t *rapid.T) {
		m := drawMessage(t)
		if err := roundTrip(&d, m); err != nil {
			t.Fatal(err)
		}
	})
}

// A batch beyond every chunk size, with data below and above ownData.
func TestCodecLargeBatches(t *testing.T) {
	var d Decoder
	for _, n := range []int{1, entriesPerChunk - 1, entriesPerChunk, entriesPerChunk + 1, 1000} {
		m := codecSamples()["app-empty"]
		for i := range n {
			m.Entries = append(m.Entries, entriesOf(7, uint64(42+i), strings.Repeat("d", i*37%(2*ownData)))...)
		}
		if err := roundTrip(&d, m); err != nil {
			t.Fatalf("%d entries: %v", n, err)
		}
	}
}

// Messages must not share memory that one of them can write.
func TestCodecMessagesAreIndependent(t *testing.T) {
	var d Decoder
	var list, want []*raftpb.Message
	for i := range 3 * messagesPerChunk {
		m := codecSamples()["app"]
		*m.Term = uint64(i)
		f := encodeFrame(m)
		got, err := d.Decode(f)
		if err != nil {
			t.Fatal(err)
		}
		list, want = append(list, got), append(want, m)
	}
	for i, m := range list { // scribble over every other message, and append to all slices
		if i%2 == 0 {
			continue
		}
		*m.Term, *m.From, *m.Entries[0].Index = 0, 0, 0
		clear(m.Entries[0].Data)
		_ = append(m.Entries[0].Data, "overflow"...)
		_ = append(m.Entries, nil)
	}
	for i := 0; i < len(list); i += 2 {
		if !proto.Equal(list[i], want[i]) {
			t.Fatalf("message %d changed with its neighbours: %v", i, list[i])
		}
	}
}

func TestCodecNilEntry(t *testing.T) {
	var d Decoder
	m := &raftpb.Message{Type: raftpb.MsgApp.Enum(), Entries: []*raftpb.Entry{nil, {Index: new(uint64(1))}}}
	got, err := d.Decode(encodeFrame(m))
	if err != nil || len(got.Entries) != 2 || got.Entries[0] == nil || !proto.Equal(got.Entries[0], &raftpb.Entry{}) {
		t.Fatalf("%v, %v: protobuf makes an empty entry of a nil one, so must we", got, err)
	}
}

func TestSameBody(t *testing.T) {
	shared := entriesOf(7, 1, "a", "b")
	app := func(to uint64, entries []*raftpb.Entry) *raftpb.Message {
		return &raftpb.Message{Type: raftpb.MsgApp.Enum(), To: new(to), Commit: new(to), Context: []byte{byte(to)}, Entries: entries}
	}
	snap := codecSamples()["snap"]
	for _, c := range []struct {
		name string
		a, b *raftpb.Message
		want bool
	}{
		{"one slice", app(2, shared), app(3, shared), true},
		{"another slice of the same entries", app(2, shared), app(3, slices.Clone(shared)), true},
		{"no entries", app(2, nil), app(3, nil), true},
		{"a prefix", app(2, shared), app(3, shared[:1]), false},
		{"equal contents only", app(2, shared), app(3, entriesOf(7, 1, "a", "b")), false},
		{"one differs", app(2, shared), app(3, []*raftpb.Entry{shared[0], entriesOf(7, 2, "b")[0]}), false},
		{"snapshots", snap, snap, false},
		{"a long context", app(2, shared), &raftpb.Message{Type: raftpb.MsgApp.Enum(), Context: make([]byte, maxPatchContext+1), Entries: shared}, false},
	} {
		if got := SameBody(c.a, c.b); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
		if c.want && !bytes.Equal(AppendBody(nil, c.a), AppendBody(nil, c.b)) {
			t.Errorf("%s: bodies differ", c.name)
		}
	}
	// Exotic entries do not need the protobuf form of the message.
	exotic := codecSamples()["unknown-entry"]
	a, b := app(2, exotic.Entries), app(3, exotic.Entries)
	if !SameBody(a, b) || !bytes.Equal(AppendBody(nil, a), AppendBody(nil, b)) {
		t.Error("messages with the same exotic entries have different bodies")
	}
}

func TestAppendKeepsWhatIsThere(t *testing.T) {
	for name, m := range codecSamples() {
		f := encodeFrame(m)
		if got := AppendPatch([]byte("xyz"), m); !bytes.Equal(got, append([]byte("xyz"), f.Patch...)) {
			t.Errorf("%s: patch depends on what it is appended to", name)
		}
		if got := AppendBody([]byte("xyz"), m); !bytes.Equal(got, append([]byte("xyz"), f.Body...)) {
			t.Errorf("%s: body depends on what it is appended to", name)
		}
	}
}

// TestCodecRefuses holds the rule that there is one encoding, and that lengths
// are checked before they are believed.
func TestCodecRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		sample string
		spoil  func(f *fabric.Frame)
		want   error
	}{
		"no patch":                  {"app", func(f *fabric.Frame) { f.Patch = nil }, ErrBadMessage},
		"short patch":               {"app", func(f *fabric.Frame) { f.Patch = f.Patch[:patchFixed-1] }, ErrBadMessage},
		"next version":              {"app", func(f *fabric.Frame) { f.Patch[0]++ }, ErrMessageVersion},
		"reserved flag":             {"app", func(f *fabric.Frame) { f.Patch[3] |= 0x80 }, ErrBadMessage},
		"reserved bytes":            {"app", func(f *fabric.Frame) { f.Patch[6] = 1 }, ErrBadMessage},
		"unset field with value":    {"app", func(f *fabric.Frame) { f.Patch[2] &^= byte(patchTerm) }, ErrBadMessage},
		"true reject that is unset": {"app", func(f *fabric.Frame) { f.Patch[3] |= byte(patchRejected >> 8) }, ErrBadMessage},
		"no type":                   {"app", func(f *fabric.Frame) { f.Patch[1] = 255 }, ErrBadMessage},
		"bytes after the patch":     {"app", func(f *fabric.Frame) { f.Patch = append(f.Patch, 0) }, ErrBadMessage},
		"hint cut off":              {"appresp-reject", func(f *fabric.Frame) { f.Patch = f.Patch[:patchFixed+7] }, ErrBadMessage},
		"vote cut off":              {"all-zero", func(f *fabric.Frame) { f.Patch = f.Patch[:patchFixed+15] }, ErrBadMessage},
		"context cut off":           {"vote", func(f *fabric.Frame) { f.Patch = f.Patch[:len(f.Patch)-1] }, ErrBadMessage},
		"context that is unset":     {"vote", func(f *fabric.Frame) { f.Patch[3] &^= byte(patchContext >> 8) }, ErrBadMessage},
		"long context":              {"full-context", func(f *fabric.Frame) { f.Patch[4]++; f.Patch = append(f.Patch, 0) }, ErrBadMessage},
		"short body":                {"app", func(f *fabric.Frame) { f.Body = f.Body[:7] }, ErrBadMessage},
		"body cut off":              {"app", func(f *fabric.Frame) { f.Body = f.Body[:len(f.Body)-1] }, ErrBadMessage},
		"bytes after the body":      {"app", func(f *fabric.Frame) { f.Body = append(f.Body, 0) }, ErrBadMessage},
		"no entries but a body":     {"app-empty", func(f *fabric.Frame) { f.Body = make([]byte, 8) }, ErrBadMessage},
		"too many entries":          {"app", func(f *fabric.Frame) { f.Body[3] = 0xff }, ErrBadMessage},
		"reserved of the body":      {"app", func(f *fabric.Frame) { f.Body[4] = 1 }, ErrBadMessage},
		"data too long":             {"app", func(f *fabric.Frame) { f.Body[bodyHeader+7] = 0xff }, ErrBadMessage},
		"entry with reserved flag":  {"app", func(f *fabric.Frame) { f.Body[bodyHeader] |= 0x20 }, ErrBadMessage},
		"entry with reserved bytes": {"app", func(f *fabric.Frame) { f.Body[bodyHeader+2] = 1 }, ErrBadMessage},
		"entry: unset term":         {"app", func(f *fabric.Frame) { f.Body[bodyHeader] &^= entryTerm }, ErrBadMessage},
		"entry: unset data":         {"app", func(f *fabric.Frame) { f.Body[bodyHeader] &^= entryData }, ErrBadMessage},
		"entry: no protobuf": {"app", func(f *fabric.Frame) {
			copy(f.Body[bodyHeader:], append([]byte{entryProto, 0, 0, 0, 5, 0, 0, 0}, make([]byte, 16)...))
		}, ErrBadMessage},
		"protobuf cut off":        {"snap", func(f *fabric.Frame) { f.Body = f.Body[:len(f.Body)-1] }, ErrBadMessage},
		"protobuf without length": {"snap", func(f *fabric.Frame) { f.Body = f.Body[:7] }, ErrBadMessage},
		"protobuf reserved":       {"snap", func(f *fabric.Frame) { f.Body[5] = 1 }, ErrBadMessage},
		"no protobuf":             {"snap", func(f *fabric.Frame) { f.Body[8] = 0xff }, ErrBadMessage},
		"patch names another":     {"snap", func(f *fabric.Frame) { f.Patch[8]++ }, ErrBadMessage},
		"patch lowers the term":   {"snap", func(f *fabric.Frame) { f.Patch[24]-- }, ErrBadMessage},
		"patch hides the type":    {"snap", func(f *fabric.Frame) { f.Patch[1] = 255 }, ErrBadMessage},
		"entries in the protobuf": {"snap", func(f *fabric.Frame) { f.Body = append([]byte{2, 0, 0, 0, 0, 0, 0, 0}, 0x3a, 0) }, ErrBadMessage},
	} {
		f := encodeFrame(codecSamples()[c.sample])
		c.spoil(f)
		var d Decoder
		if m, err := d.Decode(f); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, %v", name, m, err)
		}
	}
}

// TestCodecBoundsNesting: two bytes of protobuf make a message of 200 bytes.
func TestCodecBoundsNesting(t *testing.T) {
	m := &raftpb.Message{Type: raftpb.MsgStorageAppend.Enum()}
	for range maxNested {
		m.Responses = append(m.Responses, &raftpb.Message{})
	}
	var d Decoder
	if err := roundTrip(&d, m); err != nil {
		t.Fatalf("at the bound: %v", err)
	}
	m.Responses = append(m.Responses, &raftpb.Message{})
	if _, err := d.Decode(encodeFrame(m)); !errors.Is(err, ErrBadMessage) {
		t.Fatalf("above the bound: %v", err)
	}
	deep := &raftpb.Message{}
	for range maxNested {
		deep = &raftpb.Message{Responses: []*raftpb.Message{{}, deep}}
	}
	if _, err := d.Decode(encodeFrame(deep)); !errors.Is(err, ErrBadMessage) {
		t.Fatalf("nested above the bound: %v", err)
	}
}

// TestCodecFieldNumbers pins what countNested believes.
func TestCodecFieldNumbers(t *testing.T) {
	fields := (*raftpb.Message)(nil).ProtoReflect().Descriptor().Fields()
	if fields.ByName("entries").Number() != fieldEntries || fields.ByName("responses").Number() != fieldResponses {
		t.Error("raftpb has other field numbers")
	}
	// A field that this codec does not know of would be lost in silence.
	if n := fields.Len(); n != 14 {
		t.Errorf("raftpb.Message has %d fields, the codec carries 14", n)
	}
	if n := (*raftpb.Entry)(nil).ProtoReflect().Descriptor().Fields().Len(); n != 4 {
		t.Errorf("raftpb.Entry has %d fields, the codec carries 4", n)
	}
}

func TestCodecAllocations(t *testing.T) {
	m := benchmarkApp(1, 256)
	f := encodeFrame(m)
	var d Decoder
	decode := testing.AllocsPerRun(1000, func() {
		if _, err := d.Decode(f); err != nil {
			t.Fatal(err)
		}
	})
	if decode > 1 { // the bound that was asked for is 2
		t.Errorf("decode: %v allocations", decode)
	}
	patch, body := make([]byte, 0, 1024), make([]byte, 0, 1024)
	if n := testing.AllocsPerRun(1000, func() {
		AppendPatch(patch, m)
		AppendBody(body, m)
	}); n > 0 {
		t.Errorf("encode: %v allocations", n)
	}
	if n := testing.AllocsPerRun(1000, func() {
		var h PatchHeader
		if ParsePatch(f.Patch, &h) != nil || CheckHeader(&h, h.From, h.To) != nil {
			t.Fatal("refused")
		}
	}); n > 0 {
		t.Errorf("check of the header: %v allocations", n)
	}
}

func TestParsePatchShowsTheHeader(t *testing.T) {
	for name, m := range codecSamples() {
		var h PatchHeader
		if err := ParsePatch(AppendPatch(nil, m), &h); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		typ := m.GetType()
		if m.Type == nil || typ < 0 || typ >= patchTypeInBody {
			typ = -1
		}
		if h.Type != typ || uint64(h.From) != m.GetFrom() || uint64(h.To) != m.GetTo() || h.Term != m.GetTerm() ||
			h.Index != m.GetIndex() || h.LogTerm != m.GetLogTerm() || h.Commit != m.GetCommit() ||
			h.Reject != m.GetReject() || h.RejectHint != m.GetRejectHint() || h.Vote != m.GetVote() {
			t.Errorf("%s: header %+v of %v", name, h, m)
		}
		if !h.IsProto() && !bytes.Equal(h.Context, m.Context) {
			t.Errorf("%s: context %x", name, h.Context)
		}
	}
}

// TestCodecGolden pins the bytes on the wire.
func TestCodecGolden(t *testing.T) {
	var b strings.Builder
	samples := codecSamples()
	var names []string
	for name := range samples {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		f := encodeFrame(samples[name])
		fmt.Fprintf(&b, "%s\npatch\n%sbody\n%s\n", name, hex.Dump(f.Patch), hex.Dump(f.Body))
	}
	compareGolden(t, "codec.golden", b.String())
}

func compareGolden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *updateGolden {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s has changed: with -update-golden the new bytes are written; a change of bytes needs a new version\n%s", file, firstDifference(string(want), got))
	}
}

func firstDifference(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range min(len(w), len(g)) {
		if w[i] != g[i] {
			return fmt.Sprintf("line %d\nwant %s\ngot  %s", i+1, w[i], g[i])
		}
	}
	return fmt.Sprintf("want %d lines, got %d", len(w), len(g))
}

func TestClassify(t *testing.T) {
	big := []*raftpb.Entry{{Data: make([]byte, maxControlBytes)}}
	for _, c := range []struct {
		m     *raftpb.Message
		class fabric.Class
		lane  fabric.Lane
	}{
		{&raftpb.Message{Type: raftpb.MsgApp.Enum()}, fabric.ClassFIFO, fabric.LaneAppend},
		{&raftpb.Message{Type: raftpb.MsgSnap.Enum()}, fabric.ClassFIFO, fabric.LaneBulk},
		{&raftpb.Message{Type: raftpb.MsgProp.Enum()}, fabric.ClassUnordered, fabric.LaneAppend},
		{&raftpb.Message{Type: raftpb.MsgAppResp.Enum(), Reject: new(true)}, fabric.ClassFIFO, fabric.LaneControl},
		{&raftpb.Message{Type: raftpb.MsgAppResp.Enum()}, fabric.ClassUnordered, fabric.LaneControl},
		{&raftpb.Message{Type: raftpb.MsgHeartbeat.Enum()}, fabric.ClassUnordered, fabric.LaneControl},
		{&raftpb.Message{Type: raftpb.MsgHeartbeatResp.Enum()}, fabric.ClassUnordered, fabric.LaneControl},
		{&raftpb.Message{Type: raftpb.MsgVote.Enum()}, fabric.ClassFIFO, fabric.LaneControl},
		{&raftpb.Message{Type: raftpb.MsgVoteResp.Enum()}, fabric.ClassFIFO, fabric.LaneControl},
		{&raftpb.Message{Type: raftpb.MsgPreVote.Enum()}, fabric.ClassFIFO, fabric.LaneControl},
		{&raftpb.Message{Type: raftpb.MsgPreVoteResp.Enum()}, fabric.ClassFIFO, fabric.LaneControl},
		{&raftpb.Message{Type: raftpb.MsgTimeoutNow.Enum()}, fabric.ClassFIFO, fabric.LaneControl},
		{&raftpb.Message{Type: raftpb.MsgTransferLeader.Enum()}, fabric.ClassUnordered, fabric.LaneControl},
		{&raftpb.Message{Type: raftpb.MsgReadIndex.Enum(), Entries: entriesOf(0, 0, "ctx")}, fabric.ClassUnordered, fabric.LaneControl},
		{&raftpb.Message{Type: raftpb.MsgReadIndex.Enum(), Entries: big}, fabric.ClassUnordered, fabric.LaneAppend},
		{&raftpb.Message{Type: raftpb.MsgReadIndexResp.Enum(), Entries: big}, fabric.ClassUnordered, fabric.LaneAppend},
		{&raftpb.Message{Type: raftpb.MessageType(99).Enum()}, fabric.ClassUnordered, fabric.LaneControl},
	} {
		if class, lane := Classify(c.m); class != c.class || lane != c.lane {
			t.Errorf("%v (%d entries): %v on %v, want %v on %v", c.m.GetType(), len(c.m.Entries), class, lane, c.class, c.lane)
		}
	}
}

func TestCheckHeader(t *testing.T) {
	const peer, self, third = 2, 1, 3
	h := func(typ raftpb.MessageType, from, to fabric.MemberID, term uint64) PatchHeader {
		return PatchHeader{Type: typ, From: from, To: to, Term: term}
	}
	for _, c := range []struct {
		name string
		h    PatchHeader
		want string
	}{
		{"an append", h(raftpb.MsgApp, peer, self, 5), ""},
		{"a forwarded proposal", h(raftpb.MsgProp, third, self, 0), ""},
		{"a forwarded read", h(raftpb.MsgReadIndex, third, self, 0), ""},
		{"a read of our own that comes back", h(raftpb.MsgReadIndex, self, self, 0), ""},
		{"a forwarded transfer", h(raftpb.MsgTransferLeader, third, self, 5), ""},
		{"a type of later", h(99, peer, self, 5), ""},
		{"an append of another", h(raftpb.MsgApp, third, self, 5), "sender"},
		{"a vote of another", h(raftpb.MsgVoteResp, third, self, 5), "sender"},
		{"an append of ourselves", h(raftpb.MsgApp, self, self, 5), "sender"},
		{"nobody's proposal", h(raftpb.MsgProp, 0, self, 0), "sender"},
		{"a proposal of the append thread", h(raftpb.MsgProp, fabric.MemberID(raft.LocalAppendThread), self, 0), "sender"},
		{"an append for another", h(raftpb.MsgApp, peer, third, 5), "addressee"},
		{"a tick", h(raftpb.MsgBeat, peer, self, 5), "unsafe"},
		{"a campaign", h(raftpb.MsgHup, peer, self, 5), "unsafe"},
		{"a storage answer", h(raftpb.MsgStorageAppendResp, peer, self, 5), "unsafe"},
		{"a hidden type", h(-1, peer, self, 5), "unsafe"},
		{"an append without a term", h(raftpb.MsgApp, peer, self, 0), "unsafe"},
		{"a proposal with a term", h(raftpb.MsgProp, peer, self, 5), "unsafe"},
	} {
		err := CheckHeader(&c.h, peer, self)
		r, _ := errors.AsType[*RefusedError](err)
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", c.name, err)
		case c.want != "" && (r == nil || r.Reason.String() != c.want || r.From != peer):
			t.Errorf("%s: %v, want %s", c.name, err, c.want)
		}
	}
}

// quietLogger keeps raft's panics and drops the rest.
type quietLogger struct{ raft.Logger }

func (quietLogger) Debug(...any)            {}
func (quietLogger) Debugf(string, ...any)   {}
func (quietLogger) Info(...any)             {}
func (quietLogger) Infof(string, ...any)    {}
func (quietLogger) Warning(...any)          {}
func (quietLogger) Warningf(string, ...any) {}
func (quietLogger) Error(...any)            {}
func (quietLogger) Errorf(string, ...any)   {}
func (quietLogger) Panic(v ...any)          { panic(fmt.Sprint(v...)) }
func (quietLogger) Panicf(f string, v ...any) {
	panic(fmt.Sprintf(f, v...))
}

// TestUnsafeMessagesCrashRaft shows for each shape that the checks refuse as
// unsafe by content that a real raft panics on it.
func TestUnsafeMessagesCrashRaft(t *testing.T) {
	for name, c := range map[string]struct {
		leader bool
		m      *raftpb.Message
	}{
		"empty proposal":         {true, &raftpb.Message{Type: raftpb.MsgProp.Enum(), From: new(uint64(2)), To: new(uint64(1))}},
		"empty read":             {true, &raftpb.Message{Type: raftpb.MsgReadIndex.Enum(), From: new(uint64(1)), To: new(uint64(1))}},
		"short read context":     {true, &raftpb.Message{Type: raftpb.MsgHeartbeatResp.Enum(), From: new(uint64(2)), To: new(uint64(1)), Term: new(uint64(1)), Context: []byte{1, 2, 3}}},
		"proposal with its term": {false, &raftpb.Message{Type: raftpb.MsgProp.Enum(), From: new(uint64(2)), To: new(uint64(1)), Term: new(uint64(1)), Entries: entriesOf(0, 0, "x")}},
	} {
		var h PatchHeader
		if err := ParsePatch(AppendPatch(nil, c.m), &h); err != nil {
			t.Fatal(err)
		}
		if CheckHeader(&h, fabric.MemberID(c.m.GetFrom()), 1) == nil && CheckMessage(c.m, 2) == nil {
			t.Errorf("%s: not refused", name)
		}
		if !crashes(t, c.leader, c.m) {
			t.Errorf("%s: raft takes it now: drop the check", name)
		}
	}
	for name, m := range codecSamples() {
		if err := CheckMessage(m, 2); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func crashes(t *testing.T, leader bool, m *raftpb.Message) (crashed bool) {
	t.Helper()
	storage := raft.NewMemoryStorage()
	if err := storage.ApplySnapshot(&raftpb.Snapshot{Metadata: &raftpb.SnapshotMetadata{
		Index: new(uint64(1)), Term: new(uint64(1)), ConfState: &raftpb.ConfState{Voters: []uint64{1, 2}}}}); err != nil {
		t.Fatal(err)
	}
	if err := storage.SetHardState(&raftpb.HardState{Term: new(uint64(0)), Commit: new(uint64(1))}); err != nil {
		t.Fatal(err)
	}
	rn, err := raft.NewRawNode(&raft.Config{ID: 1, ElectionTick: 10, HeartbeatTick: 1, Storage: storage, MaxSizePerMsg: 1 << 20, MaxInflightMsgs: 16, Logger: quietLogger{}})
	if err != nil {
		t.Fatal(err)
	}
	step := func(m *raftpb.Message) {
		if err := rn.Step(m); err != nil {
			t.Logf("step %v: %v", m, err)
		}
		for rn.HasReady() {
			rd := rn.Ready()
			if err := storage.Append(rd.Entries); err != nil {
				t.Fatal(err)
			}
			rn.Advance(rd)
		}
	}
	if leader {
		if err := rn.Campaign(); err != nil {
			t.Fatal(err)
		}
		step(&raftpb.Message{Type: raftpb.MsgVoteResp.Enum(), From: new(uint64(2)), To: new(uint64(1)), Term: new(uint64(1))})
		step(&raftpb.Message{Type: raftpb.MsgAppResp.Enum(), From: new(uint64(2)), To: new(uint64(1)), Term: new(uint64(1)), Index: new(uint64(2))})
		if rn.BasicStatus().RaftState != raft.StateLeader {
			t.Fatal("no leader")
		}
		if err := rn.Step(&raftpb.Message{Type: raftpb.MsgReadIndex.Enum(), From: new(uint64(1)), To: new(uint64(1)), Entries: entriesOf(0, 0, "pending")}); err != nil {
			t.Fatal(err)
		}
	} else {
		step(&raftpb.Message{Type: raftpb.MsgHeartbeat.Enum(), From: new(uint64(2)), To: new(uint64(1)), Term: new(uint64(1))})
	}
	defer func() { crashed = recover() != nil }()
	step(m)
	// What is answered later is confirmed by the peer's heartbeat response.
	step(&raftpb.Message{Type: raftpb.MsgHeartbeatResp.Enum(), From: new(uint64(2)), To: new(uint64(1)), Term: new(uint64(1)), Context: []byte{2, 0, 0, 0, 0, 0, 0, 0}})
	return crashed
}

// TestCodecRetention: an entry that raft keeps must not keep the megabytes
// that it came with.
func TestCodecRetention(t *testing.T) {
	var kept []*raftpb.Entry
	const bound = entriesPerChunk*ownData + 3*dataPerChunk
	for _, size := range []int{16, 256, ownData - 1, ownData, 1 << 20} {
		f := encodeFrame(benchmarkApp(4<<20/size, size))
		before := heapInUse()
		var d Decoder
		m, err := d.Decode(f)
		if err != nil {
			t.Fatal(err)
		}
		kept = append(kept, m.Entries[len(m.Entries)/2])
		m = nil
		if pinned := int64(heapInUse()) - int64(before) - int64(size); pinned > bound {
			t.Errorf("one entry of %d bytes keeps %d alive", size, pinned)
		}
		runtime.KeepAlive(&d)
		runtime.KeepAlive(f)
	}
	runtime.KeepAlive(kept)
}

func heapInUse() uint64 {
	runtime.GC()
	runtime.GC()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return s.HeapAlloc
}
