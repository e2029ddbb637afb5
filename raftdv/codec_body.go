package raftdv

import (
	"encoding/binary"
	"fmt"

	"google.golang.org/protobuf/proto"

	"go.etcd.io/raft/v3/raftpb"
)

// AppendBody appends the part of m that it shares with others (see SameBody).
// What is longer than fabric.MaxBody no port accepts.
func AppendBody(dst []byte, m *raftpb.Message) []byte {
	return appendBody(dst, m, travelsAsProto(m))
}

func appendBody(dst []byte, m *raftpb.Message, asProto bool) []byte {
	if asProto {
		dst = appendProto(dst, m)
	}
	return appendEntries(dst, m.Entries)
}

func appendEntries(dst []byte, entries []*raftpb.Entry) []byte {
	if len(entries) == 0 {
		return dst
	}
	le := binary.LittleEndian
	dst = le.AppendUint64(dst, uint64(uint32(len(entries))))
	headers := len(dst)
	dst = append(dst, make([]byte, len(entries)*entryHeader)...)
	for i, e := range entries {
		before := len(dst)
		var flags byte
		if e != nil && entryTravelsAsProto(e) {
			flags = entryProto
			dst = appendMarshal(dst, e)
		} else if e != nil {
			flags = putEntry(dst[headers+i*entryHeader:], e)
			dst = append(dst, e.Data...)
		}
		h := dst[headers+i*entryHeader:]
		h[0] = flags
		le.PutUint32(h[4:], uint32(len(dst)-before))
	}
	return dst
}

func putEntry(h []byte, e *raftpb.Entry) (flags byte) {
	le := binary.LittleEndian
	_ = h[entryHeader-1]
	if e.Term != nil {
		flags |= entryTerm
		le.PutUint64(h[8:], *e.Term)
	}
	if e.Index != nil {
		flags |= entryIndex
		le.PutUint64(h[16:], *e.Index)
	}
	if e.Type != nil {
		flags |= entryType
		h[1] = byte(*e.Type)
	}
	if e.Data != nil {
		flags |= entryData
	}
	return flags
}

func entryTravelsAsProto(e *raftpb.Entry) bool {
	return e.Type != nil && uint32(*e.Type) > 255 || len(e.ProtoReflect().GetUnknown()) > 0
}

// appendProto appends all of m but its entries, with the length in front.
func appendProto(dst []byte, m *raftpb.Message) []byte {
	rest := raftpb.Message{
		Type: m.Type, To: m.To, From: m.From, Term: m.Term, LogTerm: m.LogTerm, Index: m.Index, Commit: m.Commit, Vote: m.Vote,
		Snapshot: m.Snapshot, Reject: m.Reject, RejectHint: m.RejectHint, Context: m.Context, Responses: m.Responses,
	}
	rest.ProtoReflect().SetUnknown(m.ProtoReflect().GetUnknown())
	start := len(dst)
	dst = binary.LittleEndian.AppendUint64(dst, 0)
	dst = appendMarshal(dst, &rest)
	binary.LittleEndian.PutUint32(dst[start:], uint32(len(dst)-start-8))
	return dst
}

// appendMarshal panics on what cannot happen: raft's messages have neither
// required fields nor strings.
func appendMarshal(dst []byte, m proto.Message) []byte {
	dst, err := proto.MarshalOptions{Deterministic: true}.MarshalAppend(dst, m)
	if err != nil {
		panic(fmt.Sprintf("raftdv: marshal %T: %v", m, err))
	}
	return dst
}
