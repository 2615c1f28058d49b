// Fills Go templates in as Ollama does: its variables and functions, and JSON where it prints JSON.
// Reads a JSON list of {"template", "system", "messages", "tools", "think"} and writes the list of texts, or of errors.
package main

import (
	"encoding/json"
	"os"
	"strings"
	"text/template"
)

// Told is JSON text that is printed as it was handed over (Ollama prints such a value in its own spacing).
type Told string

func (t Told) String() string { return string(t) }

type Function struct {
	Name      string
	Arguments Told
}

type ToolCall struct{ Function Function }

type Message struct {
	Role      string
	Content   string
	Thinking  string
	ToolCalls []ToolCall
}

type Tool struct {
	Type     string
	Function Told
}

type Case struct {
	Template string
	System   string
	Messages []*Message
	Tools    []Tool
	Think    *bool
}

func fill(one Case) string {
	made, err := template.New("").Option("missingkey=zero").Parse(one.Template)
	if err != nil {
		return "error: " + err.Error()
	}
	var text strings.Builder
	err = made.Execute(&text, map[string]any{
		"System":     one.System,
		"Messages":   one.Messages,
		"Tools":      one.Tools,
		"Response":   "",
		"Think":      one.Think != nil && *one.Think,
		"IsThinkSet": one.Think != nil,
	})
	if err != nil {
		return "error: " + err.Error()
	}
	return text.String()
}

func main() {
	var cases []Case
	if err := json.NewDecoder(os.Stdin).Decode(&cases); err != nil {
		panic(err)
	}
	texts := []string{}
	for _, one := range cases {
		texts = append(texts, fill(one))
	}
	out := json.NewEncoder(os.Stdout)
	out.SetEscapeHTML(false)
	if err := out.Encode(texts); err != nil {
		panic(err)
	}
}
