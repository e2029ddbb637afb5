package simulate

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
)

// Suite runs many seeds, each on clusters of several sizes.
type Suite struct {
	// First is the first seed, Seeds how many there are. Default 1.
	First uint64
	Seeds int
	// Members are the sizes of the clusters. Default 3.
	Members []int
	// Results is a file to which each report is added, one JSON object a line;
	// seeds that are in it are not run again. Empty: none.
	Results string
	// Version is written into Results; a file of another version is not
	// continued.
	Version string
	// Config of each run; its Seed and Members are replaced.
	Config Config
	// Done is told of each report, old says that it is from Results. Nil: nobody.
	Done func(r *Report, old bool)
}

// Validate lists everything that is wrong with s.
func (s *Suite) Validate() error {
	var errs []error
	if s.Seeds < 0 {
		errs = append(errs, fmt.Errorf("simulate: Seeds is %d, want 0 (default: 1) or more", s.Seeds))
	}
	for _, n := range s.Members {
		if n < 1 || n > maxMembers {
			errs = append(errs, fmt.Errorf("simulate: Members holds %d, want 1 to %d", n, maxMembers))
		}
	}
	return errors.Join(append(errs, s.Config.Validate())...)
}

// header is the first line of a results file.
type header struct {
	Version   string `json:"version"`
	Elections string `json:"elections"`
	Failovers int    `json:"failovers"`
	Views     bool   `json:"views,omitempty"`
}

func (s *Suite) header() header {
	return header{s.Version, s.Config.Elections.String(), s.Config.Failovers, s.Config.Views}
}

type runKey struct {
	members int
	seed    uint64
}

// Run runs what is not in the results file yet, all sizes of one seed before
// the next seed. It ends early when ctx does, with its error.
func (s *Suite) Run(ctx context.Context) (*Summary, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	sum := newSummary()
	file, done, err := s.open()
	if err != nil {
		return nil, err
	}
	if file != nil {
		defer file.Close()
	}
	members := s.Members
	if len(members) == 0 {
		members = []int{3}
	}
	for i := range max(1, s.Seeds) {
		for _, n := range members {
			if err := ctx.Err(); err != nil {
				return sum, err
			}
			key := runKey{n, s.First + uint64(i)}
			r, old := done[key]
			if !old {
				cfg := s.Config
				cfg.Seed, cfg.Members = key.seed, key.members
				if r, err = Run(cfg); err != nil {
					return sum, err
				}
				if err := writeLine(file, r); err != nil {
					return sum, err
				}
			}
			sum.add(r)
			if s.Done != nil {
				s.Done(r, old)
			}
		}
	}
	return sum, nil
}

func writeLine(file *os.File, v any) error {
	if file == nil {
		return nil
	}
	line, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = file.Write(append(line, '\n'))
	return err
}

// open reads the results so far and stands behind the last whole line.
func (s *Suite) open() (*os.File, map[runKey]*Report, error) {
	if s.Results == "" {
		return nil, nil, nil
	}
	file, err := os.OpenFile(s.Results, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, nil, err
	}
	done, err := s.read(file)
	if err != nil {
		file.Close()
		return nil, nil, err
	}
	return file, done, nil
}

func (s *Suite) read(file *os.File) (map[runKey]*Report, error) {
	done := map[runKey]*Report{}
	whole, err := readResults(file, s.checkHeader, func(r *Report) { done[runKey{r.Members, r.Seed}] = r })
	if err != nil {
		return nil, fmt.Errorf("simulate: results in %s: %w", s.Results, err)
	}
	if err := file.Truncate(whole); err != nil {
		return nil, err
	}
	if _, err := file.Seek(whole, io.SeekStart); err != nil {
		return nil, err
	}
	if whole > 0 {
		return done, nil
	}
	return done, writeLine(file, s.header())
}

// readResults reads the whole lines of a file of results and says where they
// end: a part of a line is of a run that was killed.
func readResults(file io.Reader, head func(h header) error, each func(r *Report)) (whole int64, err error) {
	in := bufio.NewReader(file)
	for {
		line, err := in.ReadBytes('\n')
		if err == io.EOF {
			return whole, nil
		}
		if err != nil {
			return whole, err
		}
		if whole == 0 {
			h := header{Elections: "off"} // files of before there was anything else do not say
			if err = json.Unmarshal(line, &h); err == nil {
				err = head(h)
			}
		} else {
			r := &Report{}
			if err = json.Unmarshal(line, r); err == nil {
				each(r)
			}
		}
		if err != nil {
			return whole, err
		}
		whole += int64(len(line))
	}
}

// Summarize adds up a file of results and runs nothing; about says what runs they
// are of.
func Summarize(results string) (sum *Summary, about string, err error) {
	file, err := os.Open(results)
	if err != nil {
		return nil, "", err
	}
	defer file.Close()
	sum = newSummary()
	_, err = readResults(file, func(h header) error {
		about = fmt.Sprintf("version %s, elections %s, %d failovers, views %v", h.Version, h.Elections, h.Failovers, h.Views)
		return nil
	}, sum.add)
	if err != nil {
		return nil, "", fmt.Errorf("simulate: results in %s: %w", results, err)
	}
	return sum, about, nil
}

func (s *Suite) checkHeader(h header) error {
	if h.Version != s.Version {
		return fmt.Errorf("they are of version %q, this is %q: name another file or delete it", h.Version, s.Version)
	}
	if want := s.header(); h != want {
		return fmt.Errorf("they are of runs with elections %s, %d failovers and views %v, this has %s, %d and %v: name another file or delete it",
			h.Elections, h.Failovers, h.Views, want.Elections, want.Failovers, want.Views)
	}
	return nil
}
