package barrier

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"

	"github.com/raftdv/dv/fabric"
)

// ErrState: a saved state that was not saved by this package.
var ErrState = errors.New("barrier: saved state is damaged")

// A saved state: "dVb" and a version, flags (1: does not vote; 2: a value
// follows), the view in full, promised and accepted ballot, the value in full,
// and the CRC-32C of all of it.
const (
	stateMagic   = "dVb\x01"
	stateBlind   = 1
	stateHasVote = 2
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Begin is the state that a member that never ran before is to save before it
// starts: from then on it is known that it has not voted.
func Begin(s Settings) ([]byte, error) {
	if err := s.Config.validate(); err != nil {
		return nil, err
	}
	c := &Core{self: Life{s.Self, s.Incarnation, 1}, unsaved: true, view: &View{Config: s.Config.sorted()}}
	c.save()
	return c.did.Save, nil
}

// save asks for the state to be written, one at a time.
func (c *Core) save() {
	if !c.unsaved || c.saving != nil {
		return
	}
	v := c.votes
	c.saving, c.unsaved = &v, false
	flags := byte(0)
	if c.blind {
		flags |= stateBlind
	}
	if v.value != nil {
		flags |= stateHasVote
	}
	b := appendView(append([]byte(stateMagic), flags), c.view)
	for _, n := range [...]ballot{v.promised, v.accepted} {
		b = binary.AppendUvarint(b, uint64(n.round))
		b = binary.LittleEndian.AppendUint64(b, uint64(n.owner))
	}
	if v.value != nil {
		b = appendView(b, v.value)
	}
	c.did.Save = binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// Saved says that what Output.Save had last is on stable storage.
func (c *Core) Saved() {
	if c.saving == nil {
		return
	}
	c.durable, c.saving = *c.saving, nil
	c.moves++
	c.stirs++
	c.step()
}

func parseState(b []byte) (*View, votes, bool, error) {
	end := len(b) - crc32.Size
	if end < len(stateMagic)+1 || string(b[:len(stateMagic)]) != stateMagic ||
		binary.LittleEndian.Uint32(b[max(end, 0):]) != crc32.Checksum(b[:max(end, 0)], castagnoli) {
		return nil, votes{}, false, fmt.Errorf("%w: %d bytes", ErrState, len(b))
	}
	flags, r := b[len(stateMagic)], reader{b: slices.Clone(b[len(stateMagic)+1 : end])}
	v := r.view()
	was := votes{promised: ballot{r.u32(), fabric.MemberID(r.u64())}, accepted: ballot{r.u32(), fabric.MemberID(r.u64())}}
	if flags&stateHasVote != 0 {
		was.value = r.view()
	}
	if r.bad || len(r.b) > 0 {
		return nil, votes{}, false, fmt.Errorf("%w: %d bytes", ErrState, len(b))
	}
	return v, was, flags&stateBlind != 0, v.validate()
}
