package main

import (
	"context"
	"net"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/raftdv/dv/raftdv/admin/adminpb"
)

// guardedMember takes SetElections from whoever has logged in, if guarded.
type guardedMember struct {
	adminpb.UnimplementedAdminServer
	etcdserverpb.UnimplementedAuthServer
	guarded bool
	members []string
	mode    string
}

func (m *guardedMember) Authenticate(_ context.Context, r *etcdserverpb.AuthenticateRequest) (*etcdserverpb.AuthenticateResponse, error) {
	if r.GetName() != "root" || r.GetPassword() != "a:b" {
		return nil, status.Error(codes.InvalidArgument, "authentication failed, invalid user ID or password")
	}
	return &etcdserverpb.AuthenticateResponse{Token: "let me in"}, nil
}

func (m *guardedMember) SetElections(ctx context.Context, r *adminpb.SetElectionsRequest) (*adminpb.SetElectionsResponse, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	if token := md.Get(tokenKey); m.guarded && (len(token) != 1 || token[0] != "let me in") {
		return nil, status.Error(codes.PermissionDenied, "user name is empty: only root may change this")
	}
	m.mode = r.GetMode()
	return &adminpb.SetElectionsResponse{Members: m.members}, nil
}

func (m *guardedMember) serve(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	adminpb.RegisterAdminServer(s, m)
	etcdserverpb.RegisterAuthServer(s, m)
	go s.Serve(l)
	t.Cleanup(s.Stop)
	return l.Addr().String()
}

func runElectionsCmd(t *testing.T, args ...string) (string, error) {
	t.Helper()
	cmd := newRootCmd()
	var out strings.Builder
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	cmd.SetArgs(append([]string{"elections"}, args...))
	err := cmd.ExecuteContext(t.Context())
	return out.String(), err
}

// All endpoints are switched, whatever becomes of the others.
func TestElectionsCommand(t *testing.T) {
	a, b, off := &guardedMember{members: []string{"a"}}, &guardedMember{members: []string{"b"}, guarded: true}, &guardedMember{}
	stock := grpc.NewServer()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go stock.Serve(l)
	t.Cleanup(stock.Stop)
	endpoints := strings.Join([]string{b.serve(t), l.Addr().String(), off.serve(t), a.serve(t)}, ",")
	out, err := runElectionsCmd(t, "observe", "--endpoints", endpoints)
	for _, want := range []string{"root:PASSWORD", "stock etcd", "dv-mode=off"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in %v", want, err)
		}
	}
	if a.mode != "observe" || b.mode != "" || !strings.Contains(out, "elections observe at a") {
		t.Errorf("a has %q, b %q\n%s", a.mode, b.mode, out)
	}
	if out, err := runElectionsCmd(t, "on", "--user", "root:a:b", "--endpoints", b.serve(t)); err != nil || b.mode != "on" {
		t.Errorf("as root: %v, mode %q\n%s", err, b.mode, out)
	}
	for want, args := range map[string][]string{
		"log in as root":         {"on", "--user", "root:c", "--endpoints", b.serve(t)},
		"root:PASSWORD":          {"on", "--user", "root", "--endpoints", b.serve(t)},
		"give one of":            {},
		"use off, observe or on": {"perhaps"},
		"is the member running":  {"on", "--endpoints", "127.0.0.1:1"},
	} {
		if _, err := runElectionsCmd(t, args...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: no %q in %v", args, want, err)
		}
	}
}
