package raftdv

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"sync"
)

// Snapshots travel as frames of their own on the bulk lane, what their
// receiver has to say on the control lane. Such a frame's patch is
//
//	offset  size  field
//	     0     1  patchSnapshot
//	     1     1  kind
//	     2     2  reserved (zero)
//	     4     4  CRC-32C of the body
//	     8     8  transfer: chosen by the sender, unique for its incarnation
//	    16     8  offset: data: of the body; progress: bytes consumed
//	    24     8  total: open: bytes of the database; progress: window
const (
	// patchSnapshot tells these patches from those of raft messages, whose
	// first byte is the version of their layout.
	patchSnapshot = 0x80
	snapPatchLen  = 32

	// snapshotChunk is the size of a data frame's body.
	snapshotChunk = 64 << 10
)

type snapKind uint8

const (
	// snapOpen starts a transfer, or asks where to go on. The body is the
	// MsgSnap in protobuf; total is noDatabase when nothing follows.
	snapOpen snapKind = 1 + iota
	// snapData is a piece of the database.
	snapData
	// snapProgress (from the receiver) acknowledges what was consumed, grants
	// the window behind it and asks for what follows.
	snapProgress
	// snapRewind (from the receiver) asks for everything from offset on again.
	snapRewind
	// snapDone (from the receiver) ends the transfer; a body says what failed.
	snapDone
	// snapAbort (from the sender) ends it early.
	snapAbort
)

const noDatabase = ^uint64(0)

type snapHeader struct {
	kind     snapKind
	transfer uint64
	offset   uint64
	total    uint64
}

var snapCRC = crc32.MakeTable(crc32.Castagnoli)

func appendSnapPatch(dst []byte, h snapHeader, body []byte) []byte {
	le := binary.LittleEndian
	dst = append(dst, patchSnapshot, byte(h.kind), 0, 0)
	dst = le.AppendUint32(dst, crc32.Checksum(body, snapCRC))
	dst = le.AppendUint64(dst, h.transfer)
	dst = le.AppendUint64(dst, h.offset)
	return le.AppendUint64(dst, h.total)
}

func parseSnapPatch(patch, body []byte) (snapHeader, error) {
	if len(patch) != snapPatchLen || patch[0] != patchSnapshot || patch[2] != 0 || patch[3] != 0 {
		return snapHeader{}, fmt.Errorf("snapshot frame with a patch of %d bytes is malformed", len(patch))
	}
	le := binary.LittleEndian
	if sum := crc32.Checksum(body, snapCRC); sum != le.Uint32(patch[4:]) {
		return snapHeader{}, fmt.Errorf("snapshot frame of %d bytes has checksum %08x, says %08x: memory or network altered it", len(body), sum, le.Uint32(patch[4:]))
	}
	h := snapHeader{snapKind(patch[1]), le.Uint64(patch[8:]), le.Uint64(patch[16:]), le.Uint64(patch[24:])}
	if h.kind < snapOpen || h.kind > snapAbort {
		return snapHeader{}, fmt.Errorf("snapshot frame of unknown kind %d", h.kind)
	}
	return h, nil
}

// chunk is a piece of a database, on its way out or in.
type chunk []byte

// chunks holds pointers to arrays of snapshotChunk bytes that nobody uses.
var chunks = sync.Pool{New: func() any { return new([snapshotChunk]byte) }}

// newChunk returns size bytes of any content, at most snapshotChunk.
func newChunk(size int) chunk { return chunks.Get().(*[snapshotChunk]byte)[:size] }

// free gives a chunk back, which nobody uses from now on.
func (c chunk) free() { chunks.Put((*[snapshotChunk]byte)(c[:snapshotChunk])) }
