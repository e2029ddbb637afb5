package raftdv

import (
	"fmt"
	"testing"

	"google.golang.org/protobuf/proto"

	"go.etcd.io/raft/v3/raftpb"
)

func benchmarkApp(entries, size int) *raftpb.Message {
	m := &raftpb.Message{Type: raftpb.MsgApp.Enum(), From: new(uint64(1)), To: new(uint64(2)), Term: new(uint64(3)),
		Index: new(uint64(1000)), LogTerm: new(uint64(3)), Commit: new(uint64(990))}
	for i := range entries {
		m.Entries = append(m.Entries, &raftpb.Entry{Type: raftpb.EntryNormal.Enum(), Term: new(uint64(3)), Index: new(uint64(1001 + i)), Data: make([]byte, size)})
	}
	return m
}

var benchmarkShapes = []struct{ entries, size int }{{1, 256}, {64, 256}, {1, 1 << 20}}

// keep makes the benchmark retain what raft would, so that the collector has
// its true amount of work.
var keep [1024]*raftpb.Message

func BenchmarkCodec(b *testing.B) {
	for _, shape := range benchmarkShapes {
		m := benchmarkApp(shape.entries, shape.size)
		name := fmt.Sprintf("entries=%d/size=%d", shape.entries, shape.size)
		b.Run(name+"/op=encode/codec=dv", func(b *testing.B) {
			b.ReportAllocs()
			var buf []byte
			for b.Loop() {
				buf = AppendPatch(buf[:0], m)
				buf = AppendBody(buf, m)
			}
		})
		b.Run(name+"/op=encode/codec=protobuf", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := proto.Marshal(m); err != nil {
					b.Fatal(err)
				}
			}
		})
		// rafthttp's msgappv2 stream, in the state where it is cheapest: entry by
		// entry into a buffer that is used again.
		b.Run(name+"/op=encode/codec=msgappv2", func(b *testing.B) {
			b.ReportAllocs()
			var buf []byte
			for b.Loop() {
				buf = buf[:0]
				for _, e := range m.Entries {
					_ = proto.Size(e)
					buf, _ = proto.MarshalOptions{}.MarshalAppend(buf, e)
				}
			}
		})
		f := encodeFrame(m)
		b.Run(name+"/op=decode/codec=dv", func(b *testing.B) {
			b.ReportAllocs()
			var d Decoder
			for i := 0; b.Loop(); i++ {
				got, err := d.Decode(f)
				if err != nil {
					b.Fatal(err)
				}
				keep[i%len(keep)] = got
			}
			clear(keep[:])
		})
		text, err := proto.Marshal(m)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(name+"/op=decode/codec=protobuf", func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				got := new(raftpb.Message)
				if err := proto.Unmarshal(text, got); err != nil {
					b.Fatal(err)
				}
				keep[i%len(keep)] = got
			}
			clear(keep[:])
		})
		var texts [][]byte
		for _, e := range m.Entries {
			text, err := proto.Marshal(e)
			if err != nil {
				b.Fatal(err)
			}
			texts = append(texts, text)
		}
		b.Run(name+"/op=decode/codec=msgappv2", func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				got := &raftpb.Message{Type: raftpb.MsgApp.Enum(), From: new(uint64(1)), To: new(uint64(2)), Term: new(uint64(3)),
					Index: new(uint64(1000)), LogTerm: new(uint64(3)), Commit: new(uint64(990))}
				got.Entries = make([]*raftpb.Entry, len(texts))
				for j, text := range texts {
					got.Entries[j] = new(raftpb.Entry)
					if err := proto.Unmarshal(text, got.Entries[j]); err != nil {
						b.Fatal(err)
					}
				}
				keep[i%len(keep)] = got
			}
			clear(keep[:])
		})
	}
}

func BenchmarkParseAndCheckHeader(b *testing.B) {
	patch := AppendPatch(nil, benchmarkApp(1, 256))
	b.ReportAllocs()
	for b.Loop() {
		var h PatchHeader
		if ParsePatch(patch, &h) != nil || CheckHeader(&h, 1, 2) != nil {
			b.Fatal("refused")
		}
	}
}
