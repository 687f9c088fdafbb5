//! Every operation of the API, read from its schema, and calls of it that fit its types.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::Client;

/// How deep a selection goes below an operation: a page, its rows, their parts and the rows of these.
const DEPTH: usize = 5;

/// How many rows of a list are asked for.
const ROWS: i64 = 5;

const INTROSPECTION: &str = "{ __schema { queryType { name } mutationType { name } subscriptionType { name } types {
    name kind enumValues { name } inputFields { name defaultValue type { ...t } }
    fields { name args { name defaultValue type { ...t } } type { ...t } } } } }
    fragment t on __Type { kind name ofType { kind name ofType { kind name ofType { kind name ofType { name } } } } }";

/// The schema, as the API tells it.
pub struct Operations {
    types: BTreeMap<String, Value>,
    /// Every operation, queries first.
    pub all: Vec<Operation>,
}

/// One operation.
#[derive(Debug, Clone)]
pub struct Operation {
    /// Its name.
    pub name: String,
    /// `query`, `mutation` or `subscription`.
    pub kind: &'static str,
    /// Its arguments.
    pub args: Vec<Arg>,
    selection: String,
}

/// An argument of an operation.
#[derive(Debug, Clone)]
pub struct Arg {
    /// Its name.
    pub name: String,
    /// Its type, as the schema writes it.
    pub of: String,
    /// Whether a call without it is refused.
    pub required: bool,
    shape: Value,
}

impl Operations {
    /// Reads the schema.
    ///
    /// # Panics
    /// When it cannot be read.
    pub async fn read(client: &Client) -> Self {
        let schema = client.ok(INTROSPECTION, json!({})).await["__schema"].clone();
        let types = schema["types"].as_array().expect("types");
        let types = types.iter().map(|t| (text(&t["name"]), t.clone())).collect();
        let mut this = Self { types, all: Vec::new() };
        let roots =
            [("query", "queryType"), ("mutation", "mutationType"), ("subscription", "subscriptionType")];
        for (kind, root) in roots {
            let fields = this.types[&text(&schema[root]["name"])]["fields"].clone();
            for field in fields.as_array().expect("fields") {
                let args = args(&field["args"]);
                let selection = this.selection(&field["type"], DEPTH);
                this.all.push(Operation { name: text(&field["name"]), kind, args, selection });
            }
        }
        this
    }

    /// All that can be selected of a type, so many steps deep.
    fn selection(&self, of: &Value, depth: usize) -> String {
        let leaf = leaf(of);
        let Some(fields) = self.types[&text(&leaf["name"])]["fields"].as_array() else {
            return String::new();
        };
        let mut told = String::from(" { __typename");
        for field in fields {
            let args = args(&field["args"]);
            if args.iter().any(|arg| arg.required) {
                continue;
            }
            let below = self.selection(&field["type"], depth.saturating_sub(1));
            // The rows stand in `nodes` and again in `edges`; once is enough.
            let again = matches!(field["name"].as_str(), Some("edges"));
            if again || (depth == 0 && !below.is_empty()) {
                continue;
            }
            let size = if args.iter().any(|arg| arg.name == "first") {
                format!("(first: {ROWS})")
            } else {
                String::new()
            };
            write!(told, " {}{size}{below}", text(&field["name"])).expect("text grows");
        }
        told + " }"
    }

    /// A value that fits an argument.
    ///
    /// # Panics
    /// For a type that nothing is known to fit: say here what does.
    pub fn example(&self, arg: &Arg) -> Value {
        self.fitting(&arg.shape, &arg.name)
    }

    fn fitting(&self, of: &Value, name: &str) -> Value {
        match of["kind"].as_str() {
            Some("NON_NULL") => return self.fitting(&of["ofType"], name),
            Some("LIST") => return json!([self.fitting(&of["ofType"], name)]),
            _ => {}
        }
        let known = &self.types[&text(&of["name"])];
        match (known["kind"].as_str(), of["name"].as_str()) {
            (Some("ENUM"), _) => known["enumValues"][0]["name"].clone(),
            (Some("INPUT_OBJECT"), _) => {
                let fields = args(&known["inputFields"]);
                fields.iter().filter(|f| f.required).map(|f| (f.name.clone(), self.example(f))).collect()
            }
            (_, Some("ID")) => json!(Uuid::now_v7()),
            (_, Some("Int")) => json!(1),
            (_, Some("Float")) => json!(1.0),
            (_, Some("Boolean")) => json!(true),
            (_, Some("JSON")) => json!({}),
            (_, Some("DateTime")) => json!("2100-01-01T00:00:00Z"),
            (_, Some("String")) => json!(match name {
                "email" => "somebody@example.org",
                "password" | "old" | "new" => "correct horse battery",
                "grants" | "scopes" => "tenant:permissions:list",
                _ => "x",
            }),
            (_, other) => panic!("no example of `{other:?}` for `{name}`; give one here"),
        }
    }
}

impl Operations {
    /// The arguments of an operation, or of the inputs among them, that name something by its id, filled with
    /// this one; `tenant` is not among them.
    pub fn naming(&self, operation: &Operation, id: &Value) -> Map<String, Value> {
        let mut filled = Map::new();
        for arg in operation.args.iter().filter(|arg| arg.name != "tenant") {
            let fields = args(&self.types[&text(&leaf(&arg.shape)["name"])]["inputFields"]);
            if leaf(&arg.shape)["name"] == "ID" {
                filled.insert(arg.name.clone(), listed(arg, id));
            } else if fields.iter().any(|field| leaf(&field.shape)["name"] == "ID") {
                let mut input = self.example(arg);
                for field in fields.iter().filter(|field| leaf(&field.shape)["name"] == "ID") {
                    input[&field.name] = listed(field, id);
                }
                filled.insert(arg.name.clone(), input);
            }
        }
        filled
    }
}

fn listed(arg: &Arg, id: &Value) -> Value {
    if arg.of.starts_with('[') { json!([id]) } else { id.clone() }
}

impl Operation {
    /// Whether it names a tenant.
    pub fn takes_tenant(&self) -> bool {
        self.args.iter().any(|arg| arg.name == "tenant")
    }

    /// The document and the variables of a call with these arguments and examples of the others that are
    /// required. Everything that can be selected is.
    pub fn call(&self, operations: &Operations, given: &Map<String, Value>) -> (String, Value) {
        let mut values = Map::new();
        let (mut declared, mut passed) = (Vec::new(), Vec::new());
        for arg in &self.args {
            let value =
                given.get(&arg.name).cloned().or_else(|| arg.required.then(|| operations.example(arg)));
            if let Some(value) = value {
                declared.push(format!("${}: {}", arg.name, arg.of));
                passed.push(format!("{0}: ${0}", arg.name));
                values.insert(arg.name.clone(), value);
            }
        }
        let wrapped = |list: Vec<String>| {
            if list.is_empty() { String::new() } else { format!("({})", list.join(", ")) }
        };
        let (declared, passed) = (wrapped(declared), wrapped(passed));
        let Self { kind, name, selection, .. } = self;
        (format!("{kind}{declared} {{ {name}{passed}{selection} }}"), Value::Object(values))
    }
}

fn args(list: &Value) -> Vec<Arg> {
    let of = |arg: &Value| Arg {
        name: text(&arg["name"]),
        of: written(&arg["type"]),
        required: arg["type"]["kind"] == "NON_NULL" && arg["defaultValue"].is_null(),
        shape: arg["type"].clone(),
    };
    list.as_array().map(|all| all.iter().map(of).collect()).unwrap_or_default()
}

fn written(of: &Value) -> String {
    match of["kind"].as_str() {
        Some("NON_NULL") => format!("{}!", written(&of["ofType"])),
        Some("LIST") => format!("[{}]", written(&of["ofType"])),
        _ => text(&of["name"]),
    }
}

fn leaf(of: &Value) -> &Value {
    if of["ofType"].is_null() { of } else { leaf(&of["ofType"]) }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
