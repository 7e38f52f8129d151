// Renders the chart with Go's own templates, as Helm does, and those of its functions that the chart uses.
//
//	go run tools/manifest/main.go CHART VALUES.json TEMPLATE...
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"text/template"
)

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// The chart's other files, by their paths in it.
type files string

func (chart files) Get(name string) string {
	text, err := os.ReadFile(filepath.Join(string(chart), name))
	must(err)
	return string(text)
}

func main() {
	text, err := os.ReadFile(os.Args[2])
	must(err)
	var values map[string]any
	must(json.Unmarshal(text, &values))
	functions := template.FuncMap{
		"quote": func(value any) string { return strconv.Quote(fmt.Sprint(value)) },
		"indent": func(spaces int, text string) string {
			margin := strings.Repeat(" ", spaces)
			return margin + strings.ReplaceAll(text, "\n", "\n"+margin)
		},
		"toJson": func(value any) string {
			text, err := json.Marshal(value)
			must(err)
			return string(text)
		},
		"toPrettyJson": func(value any) string {
			text, err := json.MarshalIndent(value, "", "  ")
			must(err)
			return string(text)
		},
	}
	for _, path := range os.Args[3:] {
		text, err := os.ReadFile(path)
		must(err)
		parsed, err := template.New(filepath.Base(path)).Funcs(functions).Option("missingkey=error").Parse(string(text))
		must(err)
		var out strings.Builder
		must(parsed.Execute(&out, map[string]any{"Values": values, "Files": files(os.Args[1])}))
		if rendered := strings.TrimSpace(out.String()); rendered != "" {
			fmt.Printf("---\n%s\n", rendered)
		}
	}
}
