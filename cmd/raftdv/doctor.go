package main

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/raftdv/dv/internal/doctor"
)

func newDoctorCmd() *cobra.Command {
	var asJSON bool
	var required []string
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Find out which fabrics this machine can run, and what mends the rest",
		Long: `Doctor asks the machine what the fabrics need: kernel features, privileges, socket
buffers, locked memory, clocks, a free core. Each question is answered with yes, no
or unknown; a no and an unknown come with a remedy. It changes nothing, needs no
privilege, and uses no network but loopback. It fails if a fabric that --require
names cannot be run, or nobody can tell.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			r := doctor.Run(cmd.Context())
			failing, unknown := r.Failing(required)
			if len(unknown) > 0 {
				return fmt.Errorf("--require: there is no fabric %s: use any of %s", strings.Join(unknown, ", "), strings.Join(doctor.Fabrics(), ", "))
			}
			var err error
			if asJSON {
				enc := json.NewEncoder(cmd.OutOrStdout())
				enc.SetIndent("", "  ")
				err = enc.Encode(r)
			} else {
				err = r.Write(cmd.OutOrStdout())
			}
			if err == nil && len(failing) > 0 {
				err = fmt.Errorf("required, and this machine cannot run it: %s: see MISSING above", strings.Join(failing, ", "))
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().StringSliceVar(&required, "require", []string{"udp", "stream"}, "fabrics without which the exit status is 1")
	return cmd
}
