package bench

import (
	"encoding/binary"
	"fmt"

	"google.golang.org/protobuf/proto"

	"go.etcd.io/raft/v3/raftpb"
)

const (
	// prefixLen is what stands before each message: its length, little endian.
	prefixLen = 4
	// maxMessage bounds what a receiver believes of a length: raft's largest
	// message has 1 MiB and one entry of any size.
	maxMessage = 64 << 20
)

// appendMessage writes m with its length before it.
func appendMessage(batch []byte, m *raftpb.Message) ([]byte, error) {
	at := len(batch)
	batch, err := proto.MarshalOptions{}.MarshalAppend(append(batch, 0, 0, 0, 0), m)
	if err != nil {
		return batch[:at], fmt.Errorf("encode a message: %w", err)
	}
	binary.LittleEndian.PutUint32(batch[at:], uint32(len(batch)-at-prefixLen))
	return batch, nil
}

// splitMessage decodes the first message of batch. It keeps nothing of batch.
func splitMessage(batch []byte) (*raftpb.Message, []byte, error) {
	if len(batch) < prefixLen {
		return nil, nil, errBadBatch
	}
	n := messageLen(batch)
	if batch = batch[prefixLen:]; n > len(batch) {
		return nil, nil, errBadBatch
	}
	m, err := decodeMessage(batch[:n])
	return m, batch[n:], err
}

func messageLen(prefix []byte) int { return int(binary.LittleEndian.Uint32(prefix)) }

func decodeMessage(b []byte) (*raftpb.Message, error) {
	m := &raftpb.Message{}
	if err := proto.Unmarshal(b, m); err != nil {
		return nil, fmt.Errorf("decode a message of %d bytes: %w", len(b), err)
	}
	return m, nil
}
