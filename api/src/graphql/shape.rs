//! What the schema asks of arguments and of values, read from the schema's own language.

use std::collections::HashMap;
use std::sync::LazyLock;

use async_graphql::parser::parse_schema;
use async_graphql::parser::types::{InputValueDefinition, Type, TypeKind, TypeSystemDefinition};
use async_graphql::{Name, Positioned};

/// The shape of the API's own schema.
pub(crate) static SHAPE: LazyLock<Shape> = LazyLock::new(|| Shape::read(&super::schema::sdl()));

/// The names of a schema, and the types that stand under them.
#[derive(Default)]
pub(crate) struct Shape {
    /// The values of each enumeration.
    pub(crate) enums: HashMap<Name, Vec<Name>>,
    /// The fields of each input object.
    pub(crate) inputs: HashMap<Name, Inputs>,
    /// The fields of each object, and what each of them takes and gives.
    pub(crate) fields: HashMap<Name, HashMap<Name, Taker>>,
}

/// Named values that are asked for.
pub(crate) type Inputs = Vec<Input>;

/// A named value that is asked for.
pub(crate) struct Input {
    pub(crate) name: Name,
    pub(crate) ty: Type,
    /// Whether it may be left out although its type is not nullable.
    pub(crate) has_default: bool,
}

/// A field: what it takes, and the type under the lists that it gives.
pub(crate) struct Taker {
    pub(crate) arguments: Inputs,
    pub(crate) gives: Name,
}

impl Shape {
    /// Reads a schema; of one that cannot be read nothing is known, and nothing refused.
    fn read(sdl: &str) -> Self {
        let mut shape = Self::default();
        let Ok(document) = parse_schema(sdl) else { return shape };
        for definition in document.definitions {
            let TypeSystemDefinition::Type(ty) = definition else { continue };
            let name = ty.node.name.node;
            match ty.node.kind {
                TypeKind::Enum(kind) => {
                    let values = kind.values.into_iter().map(|value| value.node.value.node).collect();
                    shape.enums.insert(name, values);
                }
                TypeKind::InputObject(kind) => {
                    shape.inputs.insert(name, inputs(kind.fields));
                }
                TypeKind::Object(kind) => {
                    let fields = kind.fields.into_iter().map(|field| {
                        let taker = Taker {
                            arguments: inputs(field.node.arguments),
                            gives: base(&field.node.ty.node).clone(),
                        };
                        (field.node.name.node, taker)
                    });
                    shape.fields.insert(name, fields.collect());
                }
                TypeKind::Scalar | TypeKind::Interface(_) | TypeKind::Union(_) => {}
            }
        }
        shape
    }
}

fn inputs(definitions: Vec<Positioned<InputValueDefinition>>) -> Inputs {
    let input = |definition: Positioned<InputValueDefinition>| Input {
        name: definition.node.name.node,
        ty: definition.node.ty.node,
        has_default: definition.node.default_value.is_some(),
    };
    definitions.into_iter().map(input).collect()
}

fn base(ty: &Type) -> &Name {
    match &ty.base {
        async_graphql::parser::types::BaseType::Named(name) => name,
        async_graphql::parser::types::BaseType::List(inner) => base(inner),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_schema_is_known() {
        assert!(SHAPE.enums.len() > 3 && !SHAPE.inputs.is_empty(), "the schema was not read");
        assert!(
            SHAPE.fields["Query"].contains_key("tenants") && SHAPE.fields["Mutation"].contains_key("login")
        );
    }
}
