// Reads dashboards and the compose file as the programs that they are for do: schema FILE...
//
// A dashboard (.json) has to have every field that Grafana's own types ask for, and no other. A compose file is loaded as
// docker compose loads it, with this process's environment, and printed as JSON.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

func main() {
	plugins.RegisterDefaultPlugins()
	failed := false
	for _, path := range os.Args[1:] {
		check := compose
		if filepath.Ext(path) == ".json" {
			check = board
		}
		if err := check(path); err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", filepath.Base(path), err)
			failed = true
		}
	}
	if failed || len(os.Args) < 2 {
		os.Exit(1)
	}
}

func board(path string) error {
	raw, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var found dashboard.Dashboard
	// It gives an empty list of errors for none, which is not nil.
	if err := found.UnmarshalJSONStrict(raw); err != nil && err.Error() != "" {
		return err
	}
	return found.Validate()
}

func compose(path string) error {
	options, err := cli.NewProjectOptions([]string{path}, cli.WithOsEnv, cli.WithWorkingDirectory(filepath.Dir(path)))
	if err != nil {
		return err
	}
	project, err := options.LoadProject(context.Background())
	if err != nil {
		return err
	}
	raw, err := project.MarshalJSON()
	if err != nil {
		return err
	}
	fmt.Println(string(raw))
	return nil
}
