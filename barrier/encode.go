package barrier

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/raftdv/dv/fabric"
)

// A view in full, little-endian; ids and incarnations are 8 bytes, other numbers
// uvarints:
//
//	number, hash of the former view (8), floor: time (8), logical
//	epoch, then voters, outgoing voters and learners: a count and the ids each
//	members: a count, then id, incarnation, generation, the view since which it is a member, each
//	cuts: a count, then one each
//
// There is one encoding of a view; its hash is the first 8 bytes of the SHA-256
// of it. A member is sent it in a frame when its row shows an older view.
func appendView(dst []byte, v *View) []byte {
	le := binary.LittleEndian
	dst = binary.AppendUvarint(dst, v.Number)
	dst = le.AppendUint64(dst, v.Former)
	dst = appendStamp(dst, v.Floor)
	dst = binary.AppendUvarint(dst, v.Config.Epoch)
	for _, ids := range [...][]fabric.MemberID{v.Config.Voters, v.Config.Outgoing, v.Config.Learners} {
		dst = binary.AppendUvarint(dst, uint64(len(ids)))
		for _, id := range ids {
			dst = le.AppendUint64(dst, uint64(id))
		}
	}
	dst = binary.AppendUvarint(dst, uint64(len(v.Members)))
	for i, l := range v.Members {
		dst = le.AppendUint64(dst, uint64(l.Member))
		dst = le.AppendUint64(dst, l.Incarnation)
		dst = binary.AppendUvarint(dst, uint64(l.Generation))
		dst = binary.AppendUvarint(dst, v.Since[i])
	}
	return appendCounts(dst, v.Cuts)
}

func appendCounts(dst []byte, counts []uint64) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(counts)))
	for _, n := range counts {
		dst = binary.AppendUvarint(dst, n)
	}
	return dst
}

func appendStamp(dst []byte, s fabric.Stamp) []byte {
	dst = binary.LittleEndian.AppendUint64(dst, uint64(s.Time))
	return binary.AppendUvarint(dst, uint64(s.Logical))
}

func (v *View) hash() uint64 {
	sum := sha256.Sum256(appendView(nil, v))
	return binary.LittleEndian.Uint64(sum[:])
}

// AppendView appends a view's encoding.
func AppendView(dst []byte, v *View) []byte { return appendView(dst, v) }

// ParseView decodes a view that fills b.
func ParseView(b []byte) (*View, error) {
	r := reader{b: b}
	v := r.view()
	if r.bad || len(r.b) > 0 {
		return nil, fmt.Errorf("%w: %d bytes", ErrView, len(b))
	}
	if err := v.validate(); err != nil {
		return nil, err
	}
	return v, nil
}

// validate is nil for a view that an honest member can have proposed: what
// depends on the view before it aside.
func (v *View) validate() error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("%w: view %d: %s", ErrView, v.Number, fmt.Sprintf(format, args...))
	}
	if err := v.Config.validate(); err != nil {
		return bad("%v", err)
	}
	if c := v.Config.sorted(); !slices.Equal(c.Voters, v.Config.Voters) || !slices.Equal(c.Outgoing, v.Config.Outgoing) || !slices.Equal(c.Learners, v.Config.Learners) {
		return bad("ids of its configuration do not rise")
	}
	if v.Number == 0 {
		if len(v.Members) > 0 || len(v.Cuts) > 0 || v.Former != 0 || !v.Floor.IsZero() {
			return bad("the view before the first has no content")
		}
		return nil
	}
	if len(v.Since) != len(v.Members) {
		return bad("%d members, and since when for %d", len(v.Members), len(v.Since))
	}
	for i, l := range v.Members {
		switch {
		case v.Since[i] == 0 || v.Since[i] > v.Number:
			return bad("%v is a member since view %d", l, v.Since[i])
		case i > 0 && v.Members[i-1].Member >= l.Member:
			return bad("member %v follows %v", l, v.Members[i-1])
		case !v.Config.votes(l.Member):
			return bad("%v is no voter", l)
		case l.Generation == 0:
			return bad("%v has no generation", l)
		}
	}
	if !v.Config.majority(func(id fabric.MemberID) bool { _, ok := v.member(id); return ok }) {
		return bad("its %d members are no majority of its voters", len(v.Members))
	}
	return nil
}

// reader takes values off bytes; after a fault bad is set and all values are 0.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) u64() uint64 {
	if len(r.b) < 8 {
		r.bad, r.b = true, nil
		return 0
	}
	v := binary.LittleEndian.Uint64(r.b)
	r.b = r.b[8:]
	return v
}

// uvarint refuses encodings that are not the shortest.
func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 || n > 1 && r.b[n-1] == 0 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) u32() uint32 {
	v := r.uvarint()
	if v>>32 != 0 {
		r.bad = true
	}
	return uint32(v)
}

// count is of things of which there is at most one for each member.
func (r *reader) count() int {
	n := r.uvarint()
	if n > MaxMembers {
		r.bad, n = true, 0
	}
	return int(n)
}

func (r *reader) stamp() fabric.Stamp { return fabric.Stamp{Time: int64(r.u64()), Logical: r.u32()} }

func (r *reader) ids() (ids []fabric.MemberID) {
	for range r.count() {
		ids = append(ids, fabric.MemberID(r.u64()))
	}
	return ids
}

// counts appends to dst.
func (r *reader) counts(dst []uint64) []uint64 {
	for range r.count() {
		dst = append(dst, r.uvarint())
	}
	return dst
}

func (r *reader) view() *View {
	v := &View{Number: r.uvarint(), Former: r.u64(), Floor: r.stamp()}
	v.Config = Config{r.uvarint(), r.ids(), r.ids(), r.ids()}
	for range r.count() {
		v.Members = append(v.Members, Life{fabric.MemberID(r.u64()), r.u64(), r.u32()})
		v.Since = append(v.Since, r.uvarint())
	}
	v.Cuts = r.counts(nil)
	return v
}
