package raftdv

import (
	"bytes"
	"encoding/binary"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/raftdv/dv/fabric"
)

// Decoder makes messages of frames. Messages own their memory: they share none
// with the frame, and they do not change when the decoder goes on. A decoder is
// cheap to keep (it holds at most three partly used chunks, 24 KiB) and not for
// concurrent use: have one for each peer.
//
// All lengths are checked before anything is allocated. The memory of a message
// is bounded by five times the bytes of its body or, where protobuf is involved,
// by sixteen times plus 256 KiB (maxNested).
type Decoder struct {
	slabs slabs
}

// Decode decodes a frame. Errors wrap ErrBadMessage or ErrMessageVersion.
func (d *Decoder) Decode(f *fabric.Frame) (*raftpb.Message, error) {
	var h PatchHeader
	if err := ParsePatch(f.Patch, &h); err != nil {
		return nil, err
	}
	return d.DecodeBody(&h, f.Patch, f.Body)
}

// DecodeBody is the second half of Decode, for callers that have looked at the
// header first: h is what ParsePatch made of patch.
func (d *Decoder) DecodeBody(h *PatchHeader, patch, body []byte) (*raftpb.Message, error) {
	if h.IsProto() {
		return d.decodeProto(patch, body)
	}
	var l entryLayout
	if err := l.parse(body); err != nil {
		return nil, err
	}
	s := d.slabs.message(l.n)
	d.fill(s, h)
	return &s.m, d.addEntries(&s.m, s.entries[:], &l)
}

func (d *Decoder) fill(s *messageSlab, h *PatchHeader) {
	m := &s.m
	s.typ = h.Type
	m.Type = &s.typ
	set := func(p **uint64, target *uint64, v uint64, flag uint16) {
		if h.flags&flag != 0 {
			*target = v
			*p = target
		}
	}
	set(&m.From, &s.from, uint64(h.From), patchFrom)
	set(&m.To, &s.to, uint64(h.To), patchTo)
	set(&m.Term, &s.term, h.Term, patchTerm)
	set(&m.Index, &s.index, h.Index, patchIndex)
	set(&m.LogTerm, &s.logTerm, h.LogTerm, patchLogTerm)
	set(&m.Commit, &s.commit, h.Commit, patchCommit)
	set(&m.RejectHint, &s.rejectHint, h.RejectHint, patchRejectHint)
	set(&m.Vote, &s.vote, h.Vote, patchVote)
	if h.flags&patchReject != 0 {
		s.reject = h.Reject
		m.Reject = &s.reject
	}
	if h.flags&patchContext == 0 {
		return
	}
	if n := len(h.Context); n <= len(s.context) {
		m.Context = s.context[:n:n]
		copy(m.Context, h.Context)
	} else {
		m.Context = d.slabs.copy(h.Context)
	}
}

// entryLayout is the parsed outline of a body.
type entryLayout struct {
	n             int
	headers, data []byte
}

func (l *entryLayout) parse(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	if len(b) < bodyHeader {
		return badMessage("body of %d bytes", len(b))
	}
	le := binary.LittleEndian
	n := uint64(le.Uint32(b))
	if n == 0 || le.Uint32(b[4:]) != 0 || n > uint64(len(b)-bodyHeader)/entryHeader {
		return badMessage("body of %d bytes says it has %d entries", len(b), n)
	}
	l.n = int(n)
	l.headers = b[bodyHeader : bodyHeader+l.n*entryHeader]
	l.data = b[bodyHeader+l.n*entryHeader:]
	return l.check()
}

// check is the reason why taking entries apart cannot fail, but for those in
// protobuf.
func (l *entryLayout) check() error {
	le := binary.LittleEndian
	total := uint64(0)
	for h := l.headers; len(h) > 0; h = h[entryHeader:] {
		flags, n := h[0], le.Uint32(h[4:])
		total += uint64(n)
		switch {
		case flags&^entryKnown != 0 || flags&entryProto != 0 && flags != entryProto || h[2]|h[3] != 0:
			return badMessage("entry with flags %#x, reserved %#x", flags, h[2:4])
		case h[1] != 0 && flags&entryType == 0, n != 0 && flags&(entryData|entryProto) == 0,
			le.Uint64(h[8:]) != 0 && flags&entryTerm == 0, le.Uint64(h[16:]) != 0 && flags&entryIndex == 0:
			return badMessage("a field of an entry has a value and is not set")
		}
	}
	if total != uint64(len(l.data)) {
		return badMessage("entries say %d bytes of data, have %d", total, len(l.data))
	}
	return nil
}

// addEntries uses inline for the list of entries if it is large enough.
func (d *Decoder) addEntries(m *raftpb.Message, inline []*raftpb.Entry, l *entryLayout) error {
	if l.n == 0 {
		return nil
	}
	list := inline[:min(l.n, len(inline)):min(l.n, len(inline))]
	if l.n > len(inline) {
		list = make([]*raftpb.Entry, l.n)
	}
	data := l.data
	for i := range list {
		h := l.headers[i*entryHeader : (i+1)*entryHeader]
		n := binary.LittleEndian.Uint32(h[4:])
		s := d.slabs.entry(int(n))
		list[i] = &s.e
		if h[0] == entryProto {
			if err := proto.Unmarshal(data[:n], &s.e); err != nil {
				return badMessage("entry %d: %v", i, err)
			}
		} else {
			d.fillEntry(s, h, data[:n])
		}
		data = data[n:]
	}
	m.Entries = list
	return nil
}

func (d *Decoder) fillEntry(s *entrySlab, h, data []byte) {
	le := binary.LittleEndian
	flags := h[0]
	if flags&entryTerm != 0 {
		s.term = le.Uint64(h[8:])
		s.e.Term = &s.term
	}
	if flags&entryIndex != 0 {
		s.index = le.Uint64(h[16:])
		s.e.Index = &s.index
	}
	if flags&entryType != 0 {
		s.typ = raftpb.EntryType(h[1])
		s.e.Type = &s.typ
	}
	if flags&entryData != 0 {
		s.e.Data = d.slabs.copy(data)
	}
}

func (d *Decoder) decodeProto(patch, body []byte) (*raftpb.Message, error) {
	le := binary.LittleEndian
	if len(body) < 8 || le.Uint32(body[4:]) != 0 || uint64(le.Uint32(body)) > uint64(len(body)-8) {
		return nil, badMessage("body of %d bytes in protobuf form", len(body))
	}
	text, rest := body[8:8+le.Uint32(body)], body[8+le.Uint32(body):]
	var l entryLayout
	if err := l.parse(rest); err != nil {
		return nil, err
	}
	if nested, ok := countNested(text, maxNested); !ok {
		return nil, badMessage("protobuf holds %d messages or more", nested)
	}
	m := new(raftpb.Message)
	if err := proto.Unmarshal(text, m); err != nil {
		return nil, badMessage("%v", err)
	}
	if len(m.Entries) > 0 || !bytes.Equal(appendPatch(nil, m, true), patch) {
		return nil, badMessage("patch and protobuf contradict each other")
	}
	return m, d.addEntries(m, nil, &l)
}

// Field numbers of raftpb.Message.
const (
	fieldEntries   = 7
	fieldResponses = 14
)

// countNested counts the messages within a protobuf message, at any depth, but
// for the snapshot, and reports whether they are at most limit. What is no
// protobuf is left to the real decoder.
func countNested(b []byte, limit int) (n int, ok bool) {
	for len(b) > 0 && n <= limit {
		num, typ, taken := protowire.ConsumeTag(b)
		if taken < 0 {
			break
		}
		b = b[taken:]
		if typ == protowire.BytesType && (num == fieldEntries || num == fieldResponses) {
			v, taken := protowire.ConsumeBytes(b)
			if taken < 0 {
				break
			}
			n++
			if num == fieldResponses {
				inner, _ := countNested(v, limit-n)
				n += inner
			}
			b = b[taken:]
			continue
		}
		if taken = protowire.ConsumeFieldValue(num, typ, b); taken < 0 {
			break
		}
		b = b[taken:]
	}
	return n, n <= limit
}
