//! From an expression's message (`cel.expr.Expr`, or `google.api.expr.v1alpha1.Expr`, which is the same on the wire) to
//! the syntax tree. How deep messages stand in each other was bounded when they were decoded.

use super::ast::{Constant, Expr};
use nuncio_proto::pb::cel::expr as pb;
use pb::constant::ConstantKind;
use pb::expr::create_struct::{Entry, entry::KeyKind};
use pb::expr::{Call, Comprehension, CreateList, CreateStruct, ExprKind, Ident, Select};

/// Why a message is no expression, in Envoy's words where it has some.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// A node of no kind.
    #[error("Invalid empty expression")]
    Empty,
    /// A literal of no kind.
    #[error("unspecified constant")]
    Constant,
    /// A name that is none.
    #[error("Invalid expression: identifier 'name' must not be empty")]
    Name,
    /// A field of nothing.
    #[error("invalid expression: select must specify an operand")]
    Operand,
    /// No field of something.
    #[error("invalid expression: select 'field' must not be empty")]
    Field,
    /// A map is made of keys.
    #[error("encountered struct field in map")]
    FieldInMap,
    /// A literal of a message.
    #[error("message literals, such as of {0}, are not built")]
    Message(String),
}

/// Reads a message.
pub(super) fn read(message: pb::Expr) -> Result<Expr, MessageError> {
    let pb::Expr { expr_kind } = message;
    Ok(match expr_kind.ok_or(MessageError::Empty)? {
        ExprKind::ConstExpr(pb::Constant { constant_kind }) => {
            Expr::Constant(constant(constant_kind.ok_or(MessageError::Constant)?))
        }
        ExprKind::IdentExpr(Ident { name }) if name.is_empty() => return Err(MessageError::Name),
        ExprKind::IdentExpr(Ident { name }) => Expr::Ident(name),
        ExprKind::SelectExpr(select) => field(*select)?,
        ExprKind::CallExpr(call) => {
            let Call { target, function, args } = *call;
            let target = target.map(|target| read(*target)).transpose()?.map(Box::new);
            Expr::Call { target, function, args: all(args)? }
        }
        ExprKind::ListExpr(CreateList { elements }) => Expr::List(all(elements)?),
        ExprKind::StructExpr(CreateStruct { message_name, entries }) => {
            if !message_name.is_empty() {
                return Err(MessageError::Message(message_name));
            }
            Expr::Map(entries.into_iter().map(entry).collect::<Result<_, _>>()?)
        }
        ExprKind::ComprehensionExpr(loops) => {
            let Comprehension {} = loops;
            Expr::Comprehension
        }
    })
}

fn all(messages: Vec<pb::Expr>) -> Result<Vec<Expr>, MessageError> {
    messages.into_iter().map(read).collect()
}

fn field(message: Select) -> Result<Expr, MessageError> {
    let Select { operand, field, test_only } = message;
    let of = Box::new(read(*operand.ok_or(MessageError::Operand)?)?);
    if field.is_empty() {
        return Err(MessageError::Field);
    }
    Ok(Expr::Select { of, field, test: test_only })
}

fn entry(message: Entry) -> Result<(Expr, Expr), MessageError> {
    let Entry { value, key_kind } = message;
    match key_kind {
        Some(KeyKind::MapKey(key)) => Ok((read(key)?, read(value.ok_or(MessageError::Empty)?)?)),
        Some(KeyKind::FieldKey(_)) => Err(MessageError::FieldInMap),
        None => Err(MessageError::Empty),
    }
}

fn constant(kind: ConstantKind) -> Constant {
    let nanos = |seconds: i64, nanos: i32| i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
    match kind {
        ConstantKind::NullValue(_) => Constant::Null,
        ConstantKind::BoolValue(b) => Constant::Bool(b),
        ConstantKind::Int64Value(n) => Constant::Int(n),
        ConstantKind::Uint64Value(n) => Constant::Uint(n),
        ConstantKind::DoubleValue(n) => Constant::Double(n),
        ConstantKind::StringValue(text) => Constant::Text(text.into_bytes().into()),
        ConstantKind::BytesValue(bytes) => Constant::Bytes(bytes.to_vec().into()),
        #[allow(deprecated, reason = "Envoy still takes it")]
        ConstantKind::DurationValue(d) => Constant::Duration(nanos(d.seconds, d.nanos)),
        #[allow(deprecated, reason = "Envoy still takes it")]
        ConstantKind::TimestampValue(t) => Constant::Timestamp(nanos(t.seconds, t.nanos)),
    }
}

#[cfg(test)]
mod tests;
