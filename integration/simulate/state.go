package simulate

import (
	"encoding/binary"
	"fmt"
)

// keys is the number of registers.
const keys = 6

// state is the replicated state machine: registers, each with the number of the
// put that wrote it last.
type state struct {
	value [keys]uint64
	confs uint64 // configurations so far
}

func (s *state) encode() []byte {
	var b []byte
	for _, v := range s.value {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	return binary.LittleEndian.AppendUint64(b, s.confs)
}

func (s *state) decode(b []byte) error {
	if len(b) != 8*(keys+1) {
		return fmt.Errorf("snapshot of %d bytes, want %d", len(b), 8*(keys+1))
	}
	s.confs = binary.LittleEndian.Uint64(b[8*keys:])
	for i := range s.value {
		s.value[i] = binary.LittleEndian.Uint64(b[8*i:])
	}
	return nil
}

// command is a put: its number, which is also the value, and the register.
type command struct {
	number uint64
	key    uint8
}

const commandLen = 9

// encode pads to size, so that entries have the size of a workload.
func (cmd *command) encode(size int) []byte {
	b := make([]byte, max(size, commandLen))
	binary.LittleEndian.PutUint64(b, cmd.number)
	b[8] = cmd.key
	return b
}

func decodeCommand(b []byte) (cmd command, err error) {
	if len(b) < commandLen || b[8] >= keys {
		return cmd, fmt.Errorf("entry of %d bytes is no command", len(b))
	}
	return command{binary.LittleEndian.Uint64(b), b[8]}, nil
}

// digest is never 0.
func (s *state) digest() uint64 {
	d := uint64(1)
	for _, v := range s.value {
		d = (d^v)*0x9e37_79b9_7f4a_7c15 | 1<<63
	}
	return d
}

func (s *state) apply(cmd command) { s.value[cmd.key] = cmd.number }
