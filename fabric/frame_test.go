package fabric_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/raftdv/dv/fabric"
	"pgregory.net/rapid"
)

// checkRoundTrip encodes f behind other bytes and decodes it before others.
func checkRoundTrip(f fabric.Frame) error {
	before, after := []byte("before"), []byte("dV and what follows")
	b := fabric.AppendFrame(bytes.Clone(before), &f.Header, f.Patch, f.Body)
	if !bytes.HasPrefix(b, before) {
		return errors.New("what was in the buffer is gone")
	}
	b = b[len(before):]
	if n := fabric.FrameSize(&f.Header, f.Patch, f.Body); n != len(b) {
		return fmt.Errorf("FrameSize says %d, the frame has %d bytes", n, len(b))
	}
	if n, err := fabric.FrameLen(b, maxBody); n != len(b) || err != nil {
		return fmt.Errorf("FrameLen says %d (%w), the frame has %d bytes", n, err, len(b))
	}
	whole := slices.Concat(b, after)
	var got fabric.Frame
	rest, err := fabric.ParseFrame(whole, maxBody, &got)
	switch {
	case err != nil:
		return err
	case !bytes.Equal(rest, after):
		return fmt.Errorf("%q is left, expected %q", rest, after)
	case !same(got, f):
		return fmt.Errorf("decoded %+v, encoded %+v", got, f)
	case !bytes.Equal(encode(&got), b):
		return errors.New("encoded again it differs")
	}
	for _, part := range [][]byte{got.Seal, got.Destinations, got.Extensions, got.Patch, got.Body} {
		if !within(part, whole[:len(b)]) {
			return fmt.Errorf("%q does not point into the frame, or reaches beyond itself", part)
		}
	}
	return nil
}

func TestRoundTripOfEverySectionSet(t *testing.T) {
	for has := range allSections + 1 {
		if err := checkRoundTrip(sample(has)); err != nil {
			t.Fatalf("sections %#x: %v", has, err)
		}
	}
}

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		if err := checkRoundTrip(frames().Draw(t, "frame")); err != nil {
			t.Fatal(err)
		}
	})
}

func TestRoundTripAtTheBounds(t *testing.T) {
	ids := make([]fabric.MemberID, fabric.MaxDestinations)
	for i := range ids {
		ids[i] = fabric.MemberID(i + 1)
	}
	full := sample(allSections)
	full.Destinations, full.Patch = fabric.AppendDestinations(nil, ids), make([]byte, fabric.MaxPatch)
	seal := sample(fabric.HasSeal)
	seal.Seal = make([]byte, fabric.MaxHeader-preludeLen-2)
	empty := sample(fabric.HasSeal)
	empty.Seal, empty.Body, empty.BodyLen = nil, nil, 0
	body := sample(0)
	body.Body, body.BodyLen = make([]byte, maxBody), maxBody
	cases := map[string]fabric.Frame{"most destinations and patch": full, "largest header": seal, "empty seal key": empty, "largest body": body}
	for patch := 1; patch < 20; patch++ {
		f := sample(fabric.HasPatch)
		f.Patch = make([]byte, patch)
		cases[fmt.Sprint("patch of ", patch)] = f
	}
	for name, f := range cases {
		if err := checkRoundTrip(f); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A header that stems from a received frame still says that it has a patch.
func TestHeaderIsUsedAgain(t *testing.T) {
	f := mustParse(t, encode(new(sample(allSections))))
	f.Patch = nil
	b := encode(&f)
	if n := fabric.FrameSize(&f.Header, nil, f.Body); n != len(b) {
		t.Errorf("FrameSize says %d, the frame has %d bytes", n, len(b))
	}
	if got := mustParse(t, b); got.Has != allSections&^fabric.HasPatch || got.Patch != nil {
		t.Errorf("sections %#x, patch %q", got.Has, got.Patch)
	}
}

func TestAppendFrameRefuses(t *testing.T) {
	with := func(has fabric.Sections, change func(*fabric.Frame)) fabric.Frame {
		f := sample(has)
		change(&f)
		return f
	}
	for name, f := range map[string]fabric.Frame{
		"no kind":                      with(0, func(f *fabric.Frame) { f.Kind = 0 }),
		"lane":                         with(0, func(f *fabric.Frame) { f.Lane = fabric.Lanes }),
		"lane of the next nibble":      with(0, func(f *fabric.Frame) { f.Lane = 16 }),
		"class":                        with(0, func(f *fabric.Frame) { f.Class = fabric.ClassSafe + 1 }),
		"class of the next byte":       with(0, func(f *fabric.Frame) { f.Class = 16 }),
		"unknown section":              with(allSections+1, func(*fabric.Frame) {}),
		"highest section":              with(1<<31, func(*fabric.Frame) {}),
		"large patch":                  with(0, func(f *fabric.Frame) { f.Patch = make([]byte, fabric.MaxPatch+1) }),
		"large seal":                   with(fabric.HasSeal, func(f *fabric.Frame) { f.Seal = make([]byte, fabric.MaxHeader-preludeLen-1) }),
		"seal beyond its length":       with(fabric.HasSeal, func(f *fabric.Frame) { f.Seal = make([]byte, 1<<16) }),
		"no destinations":              with(fabric.HasDestinations, func(f *fabric.Frame) { f.Destinations = nil }),
		"half a destination":           with(fabric.HasDestinations, func(f *fabric.Frame) { f.Destinations = f.Destinations[:12] }),
		"too many destinations":        with(fabric.HasDestinations, func(f *fabric.Frame) { f.Destinations = rising(fabric.MaxDestinations + 1) }),
		"double destination":           with(fabric.HasDestinations, func(f *fabric.Frame) { f.Destinations = bytes.Repeat(rising(1), 2) }),
		"no extensions":                with(fabric.HasExtensions, func(f *fabric.Frame) { f.Extensions = nil }),
		"broken extension":             with(fabric.HasExtensions, func(f *fabric.Frame) { f.Extensions = f.Extensions[:3] }),
		"extensions beyond the length": with(fabric.HasExtensions, func(f *fabric.Frame) { f.Extensions = make([]byte, 1<<16) }),
	} {
		if !panics(func() { encode(&f) }) {
			t.Errorf("%s: encoded", name)
		}
	}
}

func rising(n int) []byte {
	ids := make([]fabric.MemberID, n)
	for i := range ids {
		ids[i] = fabric.MemberID(i + 1)
	}
	return fabric.AppendDestinations(nil, ids)
}

func TestDestinations(t *testing.T) {
	h := fabric.Header{Destinations: fabric.AppendDestinations(nil, []fabric.MemberID{1 << 63, 5, 1, 5})}
	if len(h.Destinations) != 24 || h.Destination(0) != 1 || h.Destination(1) != 5 || h.Destination(2) != 1<<63 {
		t.Errorf("destinations %x", h.Destinations)
	}
}

// Every prefix of a frame is short, whatever it has; nothing is read beyond.
func TestPrefixesAreShort(t *testing.T) {
	f := sample(allSections)
	b := encode(&f)
	for n := range b {
		var got fabric.Frame
		rest, err := fabric.ParseFrame(b[:n:n], maxBody, &got)
		if !errors.Is(err, fabric.ErrShort) || len(rest) != n {
			t.Fatalf("%d of %d bytes: %v, %d are left", n, len(b), err, len(rest))
		}
		if size, err := fabric.FrameLen(b[:n:n], maxBody); n < preludeLen && !errors.Is(err, fabric.ErrShort) || n >= preludeLen && size != len(b) {
			t.Fatalf("length of %d bytes: %d, %v", n, size, err)
		}
	}
}

// A frame with a checksum in which any one bit is wrong is refused, or wants
// more bytes; and given any, is refused.
func TestChecksumSeesEveryBit(t *testing.T) {
	for _, has := range []fabric.Sections{fabric.HasCRC, fabric.HasCRC | fabric.HasPatch | fabric.HasStamp, allSections} {
		f := sample(has)
		b := encode(&f)
		next := encode(&f)
		for bit := range 8 * len(b) {
			wrong := bytes.Clone(b)
			wrong[bit/8] ^= 1 << (bit % 8)
			wrong = append(wrong, next...)
			var got fabric.Frame
			_, err := fabric.ParseFrame(wrong, 4<<10, &got)
			if errors.Is(err, fabric.ErrShort) {
				_, err = fabric.ParseFrame(append(wrong, make([]byte, 16<<10)...), 4<<10, &got)
			}
			if err == nil && got.Has&fabric.HasCRC == 0 {
				t.Fatalf("sections %#x, bit %d: taken as a frame without a checksum", has, bit)
			}
			if !typed(err) || errors.Is(err, fabric.ErrShort) {
				t.Fatalf("sections %#x, bit %d: %v", has, bit, err)
			}
		}
	}
}

// Without a checksum the test above must fail.
func TestChecksumTestSeesItsLack(t *testing.T) {
	f := sample(allSections &^ fabric.HasCRC)
	b := encode(&f)
	b[len(b)-1] ^= 1
	if got := mustParse(t, b); same(got, f) {
		t.Error("the bit was not changed")
	}
}

// typed reports whether err is one of the decoder's.
func typed(err error) bool {
	for _, e := range []error{fabric.ErrShort, fabric.ErrMalformed, fabric.ErrVersion, fabric.ErrChecksum, fabric.ErrTooLarge} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
