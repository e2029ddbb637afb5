package admin

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/status"

	"github.com/raftdv/dv/raftdv"
	"github.com/raftdv/dv/raftdv/admin/adminpb"
	"github.com/raftdv/dv/raftdv/election"
)

// maxWatchers bounds the watchers of a process.
const maxWatchers = 128

// server answers for all transports of the process, on one listener.
type server struct {
	adminpb.UnimplementedAdminServer
	// permit is asked before anything is changed.
	permit func(context.Context) error
}

// watchers of the process: the bound holds for all listeners together.
var watchers atomic.Int32

// Register adds the service to a gRPC server that is not serving yet. permit
// decides on each call that changes something; its error is the answer. Without
// it all of them are refused.
func Register(r grpc.ServiceRegistrar, permit func(context.Context) error) {
	if permit == nil {
		permit = func(context.Context) error {
			return status.Error(codes.PermissionDenied, "nothing can be changed through this listener: ask at one of --listen-client-urls")
		}
	}
	adminpb.RegisterAdminServer(r, &server{permit: permit})
}

// Paths are the patterns under which Handler belongs in an http.ServeMux.
func Paths() []string {
	paths := []string{"/" + adminpb.Admin_ServiceDesc.ServiceName + "/", "/" + healthpb.Health_ServiceDesc.ServiceName + "/"}
	return append(paths, "/grpc.reflection.v1.ServerReflection/", "/grpc.reflection.v1alpha.ServerReflection/")
}

// Handler serves the API, health and reflection over HTTP/2.
var Handler = sync.OnceValue(func() http.Handler {
	s := grpc.NewServer()
	Register(s, nil)
	h := health.NewServer() // serving, by default
	h.SetServingStatus(adminpb.Admin_ServiceDesc.ServiceName, healthpb.HealthCheckResponse_SERVING)
	healthpb.RegisterHealthServer(s, h)
	reflection.Register(s)
	return s
})

func (s *server) Status(context.Context, *adminpb.StatusRequest) (*adminpb.StatusResponse, error) {
	r := &adminpb.StatusResponse{LastEvent: raftdv.LastEvent()} // before: what a watcher then hears may be known, never unknown
	for _, m := range raftdv.States() {
		r.Members = append(r.Members, FromState(&m))
	}
	return r, nil
}

func (s *server) Watch(r *adminpb.WatchRequest, stream grpc.ServerStreamingServer[adminpb.WatchResponse]) error {
	if watchers.Add(1) > maxWatchers {
		watchers.Add(-1)
		return status.Errorf(codes.ResourceExhausted, "%d watchers are served at most: end one", maxWatchers)
	}
	defer watchers.Add(-1)
	after := r.GetAfter()
	if last := raftdv.LastEvent(); after > last {
		return status.Errorf(codes.OutOfRange, "event %d has not happened, the last one is %d: the process was restarted; ask for its Status anew", after, last)
	}
	for {
		events, missed, changed := raftdv.EventsAfter(after)
		if missed > 0 {
			after += missed
			if err := stream.Send(&adminpb.WatchResponse{What: &adminpb.WatchResponse_Missed{Missed: missed}}); err != nil {
				return err
			}
		}
		for i := range events {
			if err := stream.Send(&adminpb.WatchResponse{What: &adminpb.WatchResponse_Event{Event: FromEvent(&events[i])}}); err != nil {
				return err
			}
			after = events[i].Number
		}
		select {
		case <-changed:
		case <-stream.Context().Done():
			return status.FromContextError(stream.Context().Err()).Err()
		}
	}
}

func (s *server) SetElections(ctx context.Context, r *adminpb.SetElectionsRequest) (*adminpb.SetElectionsResponse, error) {
	if err := s.permit(ctx); err != nil {
		return nil, err
	}
	mode, err := election.ParseMode(r.GetMode())
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	members, err := raftdv.SetAllElections(mode)
	if err != nil {
		return nil, status.Error(codes.FailedPrecondition, err.Error())
	}
	return &adminpb.SetElectionsResponse{Members: members}, nil
}
