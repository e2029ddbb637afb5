package fabric_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/raftdv/dv/fabric"
	"pgregory.net/rapid"
)

func TestSlotRef(t *testing.T) {
	r := fabric.NewSlotRef(0xfffe, 0xfffe)
	if uint32(r) != 0xfffefffe || r.Index() != 0xfffe || r.Generation() != 0xfffe {
		t.Errorf("%#x", uint32(r))
	}
	for _, want := range []uint16{0xffff, 1, 2} {
		if r = r.Next(); r.Generation() != want || r.Index() != 0xfffe {
			t.Errorf("%v, expected generation %d", r, want)
		}
	}
	if first := fabric.NewSlotRef(3, 0).Next(); first != fabric.NewSlotRef(3, 1) {
		t.Errorf("a new slot's first content is %v", first)
	}
}

func TestSlotLen(t *testing.T) {
	for n, want := range map[int]int{0: 64, 1: 64, 48: 64, 49: 128, 112: 128, 113: 192, fabric.MaxSlotContent: fabric.MaxSlotContent + 64} {
		if got := fabric.SlotLen(n); got != want {
			t.Errorf("%d bytes take %d, expected %d", n, got, want)
		}
	}
}

// placed is the memory of a slot after a write ended with it.
func placed(memory, write []byte) []byte {
	memory = bytes.Clone(memory)
	copy(memory[len(memory)-len(write):], write)
	return memory
}

func TestSlotRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		memory := make([]byte, fabric.SlotAlign*rapid.IntRange(1, 8).Draw(t, "lines"))
		ref := fabric.NewSlotRef(rapid.Uint16().Draw(t, "index"), rapid.Uint16Min(1).Draw(t, "generation"))
		for range rapid.IntRange(1, 5).Draw(t, "contents") {
			content := bytesOf(0, len(memory)-fabric.SlotOverhead).Draw(t, "content")
			if _, err := fabric.ParseSlot(memory, ref); !errors.Is(err, fabric.ErrShort) {
				t.Fatalf("%v is there before it was written: %v", ref, err)
			}
			write := fabric.AppendSlot([]byte("before"), ref, content)[6:]
			if len(write) != fabric.SlotLen(len(content)) {
				t.Fatalf("SlotLen says %d, written are %d bytes", fabric.SlotLen(len(content)), len(write))
			}
			memory = placed(memory, write)
			got, err := fabric.ParseSlot(memory, ref)
			if err != nil || !bytes.Equal(got, content) || !within(got, memory) {
				t.Fatalf("%v; wrote %x, read %x", err, content, got)
			}
			ref = ref.Next()
		}
	})
}

func TestParseSlotRefuses(t *testing.T) {
	const lines = 3
	ref := fabric.NewSlotRef(7, 9)
	write := fabric.AppendSlot(nil, ref, make([]byte, 64))
	whole := placed(make([]byte, lines*fabric.SlotAlign), write)
	start, end := len(whole)-len(write), len(whole)
	if _, err := fabric.ParseSlot(whole, ref); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		slot []byte
		want fabric.SlotRef
		err  error
	}{
		"never written":                {make([]byte, 64), ref, fabric.ErrShort},
		"content before it":            {whole, ref.Next(), fabric.ErrShort},
		"one further":                  {whole, ref.Next().Next(), fabric.ErrMalformed},
		"overrun":                      {placed(whole, fabric.AppendSlot(nil, ref.Next(), nil)), ref, fabric.ErrMalformed},
		"another slot's":               {whole, fabric.NewSlotRef(8, 9), fabric.ErrMalformed},
		"another slot's, one before":   {whole, fabric.NewSlotRef(8, 10), fabric.ErrMalformed},
		"generation 0":                 {whole, fabric.NewSlotRef(7, 0), fabric.ErrMalformed},
		"written generation 0":         {patched(whole, end-6, 0, 0), ref, fabric.ErrMalformed},
		"written generation 0, due 1":  {patched(whole, end-6, 0, 0), fabric.NewSlotRef(7, 1), fabric.ErrMalformed},
		"no memory":                    {nil, ref, fabric.ErrMalformed},
		"half a line":                  {whole[len(whole)-32:], ref, fabric.ErrMalformed},
		"a line and a half":            {whole[len(whole)-96:], ref, fabric.ErrMalformed},
		"nameless, and due":            {patched(patched(whole, end-6, 0, 0), start+6, 0, 0), fabric.NewSlotRef(7, 0), fabric.ErrMalformed},
		"length beyond the slot":       {patched(whole, end-4, lines*64-15), ref, fabric.ErrMalformed},
		"largest length":               {patched(whole, end-4, 0xff, 0xff, 0xff, 0xff), ref, fabric.ErrMalformed},
		"lengths differ":               {patched(whole, end-4, 65), ref, fabric.ErrMalformed},
		"first length":                 {patched(whole, start, 65), ref, fabric.ErrMalformed},
		"first reference":              {patched(whole, start+4, 8), ref, fabric.ErrMalformed},
		"first generation":             {patched(whole, start+6, 8), ref, fabric.ErrMalformed},
		"padding":                      {patched(whole, start+8+64, 1), ref, fabric.ErrMalformed},
		"last byte of the padding":     {patched(whole, end-9, 1), ref, fabric.ErrMalformed},
		"smaller than its content was": {whole[64:][64:], ref, fabric.ErrMalformed},
	} {
		if got, err := fabric.ParseSlot(c.slot, c.want); !errors.Is(err, c.err) {
			t.Errorf("%s: %x, %v, expected %v", name, got, err, c.err)
		}
	}
	if !panics(func() { fabric.AppendSlot(nil, fabric.NewSlotRef(1, 0), nil) }) {
		t.Error("content without a name was encoded")
	}
}

// form is a way to lay content into a slot: write returns where the words go,
// in memory order; the last is the valid word.
type form struct {
	write func(memory []byte, ref fabric.SlotRef, content []byte) (at int, words []byte)
	parse func(memory []byte, ref fabric.SlotRef) ([]byte, error)
}

var oneSided = form{
	write: func(memory []byte, ref fabric.SlotRef, content []byte) (int, []byte) {
		b := fabric.AppendSlot(nil, ref, content)
		return len(memory) - len(b), b
	},
	parse: fabric.ParseSlot,
}

// behind is the form that was not chosen: it starts where the slot starts, and
// its valid word stands right behind the content.
var behind = form{
	write: func(_ []byte, ref fabric.SlotRef, content []byte) (int, []byte) {
		return 0, fabric.AppendSlot(nil, ref, content)
	},
	parse: func(memory []byte, ref fabric.SlotRef) ([]byte, error) {
		n := uint64(binary.LittleEndian.Uint32(memory))
		if n > uint64(len(memory)-fabric.SlotOverhead) {
			return nil, fabric.ErrMalformed
		}
		return fabric.ParseSlot(memory[:fabric.SlotLen(int(n))], ref)
	},
}

// A torn write is given by the order in which its words become visible.
type wordOrder func(rng *rand.Rand, words int) []int

func validLast(rng *rand.Rand, words int) []int { return append(rng.Perm(words-1), words-1) }

func validFirst(rng *rand.Rand, words int) []int {
	return append([]int{words - 1}, rng.Perm(words-1)...)
}

// checkTorn writes content over memory, word by word, and asks after each
// whether the slot holds it. It must not before the last word, and must then.
func checkTorn(f form, order []int, memory []byte, ref fabric.SlotRef, content []byte) error {
	memory = bytes.Clone(memory)
	at, words := f.write(memory, ref, content)
	for i, w := range order {
		if got, err := f.parse(memory, ref); err == nil {
			return fmt.Errorf("after %d of %d words %v was taken: %q", i, len(order), ref, got)
		} else if !errors.Is(err, fabric.ErrShort) {
			return fmt.Errorf("after %d of %d words: %w", i, len(order), err)
		}
		copy(memory[at+8*w:], words[8*w:8*w+8])
	}
	if got, err := f.parse(memory, ref); err != nil || !bytes.Equal(got, content) {
		return fmt.Errorf("after all words: %q, %w", got, err)
	}
	return nil
}

// malice is content made of what would make the next content valid: valid
// words and first words of any length.
func malice(rng *rand.Rand, next fabric.SlotRef, n int) []byte {
	var b []byte
	for len(b) < n {
		like := fabric.AppendSlot(nil, next, make([]byte, rng.IntN(n+1)))
		if rng.IntN(2) == 0 {
			b = append(b, like[:8]...)
		} else {
			b = append(b, like[len(like)-8:]...)
		}
	}
	return b[:n]
}

// tear runs checkTorn over many slots, with honest and malicious contents
// before.
func tear(f form, order wordOrder, seed uint64, rounds int) error {
	rng := rand.New(rand.NewPCG(seed, 0))
	for range rounds {
		memory := make([]byte, fabric.SlotAlign*(1+rng.IntN(6)))
		largest := len(memory) - fabric.SlotOverhead
		ref := fabric.NewSlotRef(uint16(rng.Uint32()), uint16(0xfff0+rng.IntN(20)))
		for range rng.IntN(3) { // contents before, the last of them whole
			ref = ref.Next()
			at, words := f.write(memory, ref, malice(rng, ref.Next(), rng.IntN(largest+1)))
			copy(memory[at:], words)
		}
		ref = ref.Next()
		content := malice(rng, ref, rng.IntN(largest+1))
		if err := checkTorn(f, order(rng, fabric.SlotLen(len(content))/8), memory, ref, content); err != nil {
			return err
		}
	}
	return nil
}

func TestTornSlots(t *testing.T) {
	if err := tear(oneSided, validLast, 1, 3000); err != nil {
		t.Error(err)
	}
}

// Every set of words that may be visible before the valid word, in slots of two
// lines.
func TestEveryTornSlot(t *testing.T) {
	const size = 2 * fabric.SlotAlign
	rng := rand.New(rand.NewPCG(2, 0))
	ref := fabric.NewSlotRef(1, 0xffff)
	next := ref.Next()
	for _, was := range []int{0, 48, 49, size - fabric.SlotOverhead} {
		before := placed(make([]byte, size), fabric.AppendSlot(nil, ref, malice(rng, next, was)))
		for _, is := range []int{0, 48, 49, size - fabric.SlotOverhead} {
			write := fabric.AppendSlot(nil, next, malice(rng, next, is))
			words := len(write)/8 - 1
			memory := bytes.Clone(before)
			for set := range 1 << words {
				copy(memory, before)
				for w := range words {
					if set>>w&1 == 1 {
						copy(memory[size-len(write)+8*w:], write[8*w:8*w+8])
					}
				}
				if got, err := fabric.ParseSlot(memory, next); !errors.Is(err, fabric.ErrShort) {
					t.Fatalf("%d bytes after %d, words %b: %q, %v", is, was, set, got, err)
				}
			}
		}
	}
}

// Negative controls: the check sees a sender that lets the valid word go
// first, and a form in which content can pose as a valid word.
func TestTornSlotsAreSeen(t *testing.T) {
	if err := tear(oneSided, validFirst, 1, 3000); err == nil {
		t.Error("the valid word may come first")
	}
	if err := tear(behind, validLast, 1, 3000); err == nil {
		t.Error("the valid word may stand behind the content")
	}
}

// With the valid word first, torn content is not only refused but taken.
func TestValidWordFirstIsTaken(t *testing.T) {
	memory := make([]byte, fabric.SlotAlign)
	ref := fabric.NewSlotRef(0, 1)
	write := fabric.AppendSlot(nil, ref, []byte("content of this slot"))
	copy(memory[56:], write[56:])
	copy(memory, write[:8])
	if got, err := fabric.ParseSlot(memory, ref); err != nil || string(got) == "content of this slot" {
		t.Errorf("%q, %v", got, err)
	}
}
