package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/raftdv/dv/raftdv/admin/adminpb"
	"github.com/raftdv/dv/raftdv/election"
)

// tokenKey is the metadata under which etcd looks for a token.
const tokenKey = "token"

func newElectionsCmd() *cobra.Command {
	var cfg statusConfig
	var user string
	cmd := &cobra.Command{
		Use:   "elections off|observe|on",
		Short: "Switch how the leader of a running cluster is elected",
		Long: `Elections switches the arbiter of each endpoint's member, at once and until
that member is started again (--dv-elections says how it starts):

  on       elections are arbitrated and end in at most three rounds
  observe  what would be done is only said, in the log and the metrics
  off      elections are raft's own

Give the client URLs of all members: an election is arbitrated by a majority of
them. With etcd's authentication on, --user has to be root. What is in force,
and why it may be another mode than the one that was set, is shown by "raftdv
status".`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return errors.New("elections: give one of off, observe, on")
			}
			_, err := election.ParseMode(args[0])
			return err
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return runElections(cmd.Context(), cfg, user, args[0], cmd.OutOrStdout())
		},
	}
	f := cmd.Flags()
	addEndpointFlags(f, &cfg, "client URLs of the members to switch")
	f.StringVar(&user, "user", "", "name:password, where authentication is on")
	return cmd
}

// runElections goes on after an endpoint that fails: a cluster that is switched
// in part is no danger, only elections that a minority arbitrates.
func runElections(ctx context.Context, cfg statusConfig, user, mode string, w io.Writer) error {
	a, err := newAsker(cfg)
	if err != nil {
		return err
	}
	defer a.close()
	var errs []error
	for _, e := range a.endpoints {
		members, err := a.setElections(ctx, e, user, mode)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", e, err))
			continue
		}
		fmt.Fprintf(w, "%s: elections %s at %s\n", e, mode, strings.Join(members, ", "))
	}
	return errors.Join(errs...)
}

func (a *asker) setElections(ctx context.Context, endpoint, user, mode string) ([]string, error) {
	conn, err := a.dial(endpoint)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, a.cfg.timeout)
	defer cancel()
	if user != "" {
		if ctx, err = login(ctx, conn, user); err != nil {
			return nil, err
		}
	}
	r, err := adminpb.NewAdminClient(conn).SetElections(ctx, &adminpb.SetElectionsRequest{Mode: mode})
	switch status.Code(err) {
	case codes.OK:
		if len(r.GetMembers()) == 0 {
			return nil, errors.New("the transport is switched off there (dv-mode=off): its elections are raft's own")
		}
		return r.GetMembers(), nil
	case codes.Unimplemented:
		return nil, errors.New("it has no such call: either this is stock etcd, or an etcd-dv without elections, or the URL is none of --listen-client-urls")
	case codes.PermissionDenied:
		return nil, fmt.Errorf("%s (--user root:PASSWORD at a client URL may)", status.Convert(err).Message())
	case codes.DeadlineExceeded:
		return nil, explain(context.DeadlineExceeded)
	}
	return nil, fmt.Errorf("is the member running, and is this its client URL? %s", status.Convert(err).Message())
}

// login gets a token from etcd, as its own clients do.
func login(ctx context.Context, conn *grpc.ClientConn, user string) (context.Context, error) {
	name, password, ok := strings.Cut(user, ":")
	if !ok {
		return ctx, errors.New("--user: write it like root:PASSWORD")
	}
	r, err := etcdserverpb.NewAuthClient(conn).Authenticate(ctx, &etcdserverpb.AuthenticateRequest{Name: name, Password: password})
	if err != nil {
		return ctx, fmt.Errorf("log in as %s: %s", name, status.Convert(err).Message())
	}
	return metadata.AppendToOutgoingContext(ctx, tokenKey, r.GetToken()), nil
}
