package fabric_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/raftdv/dv/fabric"
)

var caps = fabric.Capabilities{Name: "test", MaxFrame: 2000}

func to(ids ...fabric.MemberID) []fabric.MemberID { return ids }

func TestCheckOutgoingAccepts(t *testing.T) {
	for name, o := range map[string]fabric.Outgoing{
		"nothing to say":           {To: to(1)},
		"largest body":             {To: to(1), Body: make([]byte, caps.MaxFrame)},
		"largest patch":            {To: to(1, 2), Patch: [][]byte{make([]byte, fabric.MaxPatch), nil}, Body: make([]byte, caps.MaxFrame-fabric.MaxPatch)},
		"highest lane and class":   {To: to(1), Lane: fabric.Lanes - 1, Class: fabric.ClassSafe},
		"data":                     {To: to(1), Kind: fabric.KindData},
		"trailer":                  {To: to(1<<64 - 1), Kind: fabric.KindTrailer},
		"void":                     {To: to(1), Kind: fabric.KindVoid, Body: fabric.VoidBody()},
		"empty patches":            {To: to(1, 2), Patch: [][]byte{{}, nil}},
		"stamp, ticket and stream": {To: to(1), Stamp: fabric.Stamp{Time: -1}, Ticket: 1, Stream: 1},
	} {
		if err := fabric.CheckOutgoing(&o, &caps); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCheckOutgoingRefuses(t *testing.T) {
	small := fabric.Capabilities{Name: "test", MaxFrame: 10}
	for name, c := range map[string]struct {
		o    fabric.Outgoing
		caps *fabric.Capabilities
		want error
	}{
		"no destination":            {fabric.Outgoing{}, &caps, fabric.ErrBadFrame},
		"destination 0":             {fabric.Outgoing{To: to(1, 0)}, &caps, fabric.ErrBadFrame},
		"destination twice":         {fabric.Outgoing{To: to(1, 2, 1)}, &caps, fabric.ErrBadFrame},
		"fewer patches":             {fabric.Outgoing{To: to(1, 2), Patch: make([][]byte, 1)}, &caps, fabric.ErrBadFrame},
		"more patches":              {fabric.Outgoing{To: to(1), Patch: make([][]byte, 2)}, &caps, fabric.ErrBadFrame},
		"no patch for anybody":      {fabric.Outgoing{To: to(1), Patch: [][]byte{}}, &caps, fabric.ErrBadFrame},
		"lane":                      {fabric.Outgoing{To: to(1), Lane: fabric.Lanes}, &caps, fabric.ErrBadFrame},
		"lane of the next nibble":   {fabric.Outgoing{To: to(1), Lane: 16}, &caps, fabric.ErrBadFrame},
		"class":                     {fabric.Outgoing{To: to(1), Class: fabric.ClassSafe + 1}, &caps, fabric.ErrBadFrame},
		"class of the next byte":    {fabric.Outgoing{To: to(1), Class: 16}, &caps, fabric.ErrBadFrame},
		"row":                       {fabric.Outgoing{To: to(1), Kind: fabric.KindRow}, &caps, fabric.ErrBadFrame},
		"ack":                       {fabric.Outgoing{To: to(1), Kind: fabric.KindAck}, &caps, fabric.ErrBadFrame},
		"keep-alive":                {fabric.Outgoing{To: to(1), Kind: fabric.KindKeepalive}, &caps, fabric.ErrBadFrame},
		"credit":                    {fabric.Outgoing{To: to(1), Kind: fabric.KindCredit}, &caps, fabric.ErrBadFrame},
		"unknown kind":              {fabric.Outgoing{To: to(1), Kind: fabric.KindTrailer + 1}, &caps, fabric.ErrBadFrame},
		"void without a number":     {fabric.Outgoing{To: to(1), Kind: fabric.KindVoid}, &caps, fabric.ErrBadFrame},
		"void of two":               {fabric.Outgoing{To: to(1), Kind: fabric.KindVoid, Body: []byte{2, 0, 0, 0, 0, 0, 0, 0}}, &caps, fabric.ErrBadFrame},
		"void with patches":         {fabric.Outgoing{To: to(1), Kind: fabric.KindVoid, Body: fabric.VoidBody(), Patch: make([][]byte, 1)}, &caps, fabric.ErrBadFrame},
		"large body":                {fabric.Outgoing{To: to(1), Body: make([]byte, caps.MaxFrame+1)}, &caps, fabric.ErrTooLarge},
		"large patch":               {fabric.Outgoing{To: to(1, 2), Patch: [][]byte{nil, make([]byte, fabric.MaxPatch+1)}}, &caps, fabric.ErrTooLarge},
		"patch and body":            {fabric.Outgoing{To: to(1, 2), Patch: [][]byte{nil, {1}}, Body: make([]byte, caps.MaxFrame)}, &caps, fabric.ErrTooLarge},
		"body of a small port":      {fabric.Outgoing{To: to(1), Body: make([]byte, 11)}, &small, fabric.ErrTooLarge},
		"patch beyond a small port": {fabric.Outgoing{To: to(1), Patch: [][]byte{make([]byte, 11)}}, &small, fabric.ErrTooLarge},
	} {
		err := fabric.CheckOutgoing(&c.o, c.caps)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, expected %v", name, err, c.want)
		}
	}
}

// What CheckOutgoing lets through can be encoded for each destination.
func TestCheckedFramesAreEncoded(t *testing.T) {
	o := fabric.Outgoing{To: to(1, 2), Patch: [][]byte{make([]byte, fabric.MaxPatch), nil}, Lane: fabric.Lanes - 1, Class: fabric.ClassSafe, Kind: fabric.KindTrailer}
	if err := fabric.CheckOutgoing(&o, &caps); err != nil {
		t.Fatal(err)
	}
	for _, p := range o.Patch {
		f := fabric.Frame{Header: fabric.Header{Kind: o.Kind, Class: o.Class, Lane: o.Lane}, Patch: p}
		if got := mustParse(t, encode(&f)); got.Kind != o.Kind || got.Class != o.Class || got.Lane != o.Lane || len(got.Patch) != len(p) {
			t.Errorf("got %+v", got)
		}
	}
}

// The body of a void belongs to its caller.
func TestVoidBodyIsACopy(t *testing.T) {
	fabric.VoidBody()[0] = 9
	if fabric.VoidBody()[0] != 1 {
		t.Error("a caller changed what a void is")
	}
}

func TestSendError(t *testing.T) {
	err := error(&fabric.SendError{Refused: []fabric.Refusal{
		{Index: 0, To: 0xa, Ticket: 1, Err: fmt.Errorf("%w: 3 frames queued", fabric.ErrNoCredit)},
		{Index: 1, To: 0xa, Ticket: 2, Err: fabric.ErrClosed},
		{Index: 1, To: 0xb, Ticket: 2, Err: fabric.ErrUnknownPeer},
	}})
	for _, want := range []error{fabric.ErrNoCredit, fabric.ErrClosed, fabric.ErrUnknownPeer} {
		if !errors.Is(err, want) {
			t.Errorf("%v is not found", want)
		}
	}
	for _, other := range []error{fabric.ErrLost, fabric.ErrLinkDown, nil} {
		if errors.Is(err, other) {
			t.Errorf("%v is found", other)
		}
	}
	want := "frames refused (3): to a: no credit at the destination: 3 frames queued; to b: unknown peer"
	if err.Error() != want {
		t.Errorf("%q, expected %q", err, want)
	}
	sent, ok := errors.AsType[*fabric.SendError](fmt.Errorf("wrapped: %w", err))
	if !ok || len(sent.Refused) != 3 {
		t.Error("not found behind another error")
	}
}

func TestLost(t *testing.T) {
	reason := fmt.Errorf("connection reset: %w", fabric.ErrLinkDown)
	err := fabric.Lost(reason)
	for _, want := range []error{fabric.ErrLost, reason, fabric.ErrLinkDown} {
		if !errors.Is(err, want) {
			t.Errorf("%v is not found", want)
		}
	}
	if errors.Is(err, fabric.ErrTimeout) {
		t.Error("another reason is found")
	}
	if want := "frame lost: connection reset: link is down"; err.Error() != want {
		t.Errorf("%q, expected %q", err, want)
	}
	if unknown := fabric.Lost(nil); !errors.Is(unknown, fabric.ErrLost) || unknown.Error() == "" {
		t.Errorf("without a reason: %v", unknown)
	}
	if (fabric.Resolution{Err: err}).Acked() || !(fabric.Resolution{}).Acked() {
		t.Error("lost is acked, or acked lost")
	}
}

func TestNames(t *testing.T) {
	for got, want := range map[string]string{
		fabric.MemberID(0x8e9e05c52164694d).String(): "8e9e05c52164694d",
		fabric.LaneControl.String():                  "control", fabric.LaneAppend.String(): "append", fabric.LaneBulk.String(): "bulk",
		fabric.Lane(fabric.Lanes).String(): "lane(3)",
		fabric.ClassUnordered.String():     "unordered", fabric.ClassFIFO.String(): "fifo", fabric.ClassAgreed.String(): "agreed",
		fabric.ClassSafe.String(): "safe", (fabric.ClassSafe + 1).String(): "class(4)",
		fabric.NewSlotRef(7, 3).String(): "slot 7.3",
	} {
		if got != want {
			t.Errorf("%q, expected %q", got, want)
		}
	}
	if !(fabric.Stamp{}).IsZero() || (fabric.Stamp{Time: -1}).IsZero() || (fabric.Stamp{Logical: 1}).IsZero() {
		t.Error("which stamp is zero?")
	}
}
