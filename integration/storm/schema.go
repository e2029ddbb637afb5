package storm

import "encoding/json"

// SchemaFile is where the schema is published, from the module's root.
const SchemaFile = "docs/examples/storm.schema.json"

// Schema is the JSON schema of specifications (draft 2020-12), which Parse applies.
func Schema() []byte {
	b, err := json.MarshalIndent(schema(), "", "  ")
	if err != nil {
		panic(err) // of maps and strings
	}
	return append(b, '\n')
}

type object = map[string]any

func schema() object {
	matrix, exclude := object{}, object{}
	for i := range dimensions {
		d := &dimensions[i]
		one := d.schema()
		exclude[d.name] = oneOrMore(one)
		many := oneOrMore(one)
		many["description"] = d.about + ". Default " + d.usual + "."
		matrix[d.name] = many
	}
	whole := func(about string, from, to int) object {
		return object{"type": "integer", "minimum": from, "maximum": to, "description": about}
	}
	properties := object{
		"name":     object{"type": "string", "pattern": `^[a-z0-9][a-z0-9-]{0,63}$`, "description": "A word for files and titles: small letters, digits and hyphens."},
		"claim":    object{"type": "string", "minLength": 1, "description": "What the experiment is about, in a sentence or two."},
		"matrix":   object{"type": "object", "properties": matrix, "additionalProperties": false, "description": "What is varied: one value or a list for each dimension. Every combination is a cell."},
		"exclude":  object{"type": "array", "items": object{"type": "object", "properties": exclude, "additionalProperties": false, "minProperties": 1}, "description": "Cells that are left out: those with all these values."},
		"seeds":    object{"type": "object", "properties": object{"first": whole("The first seed. Default 1.", 0, 1<<53), "count": whole("How many trials each cell has. Default 100.", 1, maxSeeds)}, "additionalProperties": false, "description": "The trials of each cell."},
		"warm_up":  timeSchema("Simulated time before the fault. Default 2s."),
		"duration": timeSchema("Simulated time from the fault on. Default 5s."),
		"workload": object{"type": "object", "properties": object{"rate": whole("Writes that clients begin in a second. Default 100.", 1, maxRate), "size": whole("Bytes of each. Default 64.", 1, maxSize)}, "additionalProperties": false, "description": "What clients do."},
		"baseline": object{"type": "string", "enum": TransportNames(), "description": "The transport that others are compared with; it has to be in the matrix."},
		"expect":   object{"type": "array", "maxItems": maxExpect, "items": object{"type": "string"}, "description": "What has to hold of the results: METRIC.STATISTIC <= VALUE, with \"* baseline\" and \"where DIMENSION = VALUE and ...\" behind it if need be. It decides the exit status."},
	}
	return object{
		"$schema": "https://json-schema.org/draft/2020-12/schema",
		"title":   "A specification for raftdv storm", "type": "object",
		"properties": properties, "required": []string{"name", "claim", "matrix", "expect"}, "additionalProperties": false,
	}
}

func oneOrMore(one object) object {
	return object{"oneOf": []any{one, object{"type": "array", "items": one, "minItems": 1, "uniqueItems": true}}}
}

// timePattern is what Go's time.ParseDuration takes, without sign.
const timePattern = `^([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+$`

func timeSchema(about string) object {
	return object{"type": "string", "pattern": timePattern, "description": about}
}

func (d *dimension) schema() object {
	switch {
	case d.names != nil:
		return object{"type": "string", "enum": d.names()}
	case d.whole != nil:
		return object{"type": "integer", "minimum": d.whole[0], "maximum": d.whole[1]}
	case d.share != nil:
		return object{"type": "number", "minimum": d.share[0], "maximum": d.share[1]}
	case d.duration != nil:
		return object{"type": "string", "pattern": timePattern}
	default:
		return object{"type": "boolean"}
	}
}
