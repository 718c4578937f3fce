use super::super::{CelError, Expression, Features, PlanError};
use super::*;
use nuncio_proto::pb::google::api::expr::v1alpha1 as older;
use prost::Message;

fn node(kind: ExprKind) -> pb::Expr {
    pb::Expr { expr_kind: Some(kind) }
}

fn ident(name: &str) -> pb::Expr {
    node(ExprKind::IdentExpr(Ident { name: name.into() }))
}

fn literal(kind: ConstantKind) -> pb::Expr {
    node(ExprKind::ConstExpr(pb::Constant { constant_kind: Some(kind) }))
}

fn call(function: &str, target: Option<pb::Expr>, args: Vec<pb::Expr>) -> pb::Expr {
    node(ExprKind::CallExpr(Box::new(Call { target: target.map(Box::new), function: function.into(), args })))
}

fn select(operand: Option<pb::Expr>, field: &str) -> pb::Expr {
    let operand = operand.map(Box::new);
    node(ExprKind::SelectExpr(Box::new(Select { operand, field: field.into(), test_only: false })))
}

fn map(entry: Entry, message_name: &str) -> pb::Expr {
    node(ExprKind::StructExpr(CreateStruct { message_name: message_name.into(), entries: vec![entry] }))
}

#[test]
fn a_message_is_the_tree_that_its_text_would_be() {
    let path = select(Some(ident("request")), "path");
    let starts = call("startsWith", Some(path), vec![literal(ConstantKind::StringValue("/a".into()))]);
    let message = call("_&&_", None, vec![starts, literal(ConstantKind::BoolValue(true))]);
    let text = super::super::parse::parse("request.path.startsWith('/a') && true").unwrap();
    assert_eq!(read(message).unwrap(), text);
}

#[test]
fn what_is_no_expression_is_refused_by_its_fault() {
    let key = |key_kind| Entry { value: Some(ident("a")), key_kind };
    for (message, why) in [
        (pb::Expr::default(), MessageError::Empty),
        (node(ExprKind::ConstExpr(pb::Constant::default())), MessageError::Constant),
        (ident(""), MessageError::Name),
        (select(None, "a"), MessageError::Operand),
        (select(Some(ident("a")), ""), MessageError::Field),
        (map(key(Some(KeyKind::FieldKey("a".into()))), ""), MessageError::FieldInMap),
        (map(key(None), ""), MessageError::Empty),
        (map(key(Some(KeyKind::MapKey(ident("a")))), "a.B"), MessageError::Message("a.B".into())),
        (call("!_", None, vec![pb::Expr::default()]), MessageError::Empty),
    ] {
        assert_eq!(read(message), Err(why));
    }
}

#[test]
fn loops_are_refused() {
    let loops = node(ExprKind::ComprehensionExpr(Comprehension {}));
    let refused = Expression::of_message(loops, Features::default()).unwrap_err();
    assert_eq!(refused, CelError::Plan(PlanError::Comprehension));
}

#[test]
fn the_older_message_is_the_same_on_the_wire() {
    let message = call("_==_", None, vec![ident("a"), literal(ConstantKind::Int64Value(-1))]);
    let older = older::Expr::decode(&*message.encode_to_vec()).unwrap();
    assert!(Expression::of_older_message(&older, Features::default()).is_ok());
}

#[test]
fn messages_are_not_deeper_than_can_be_decoded() {
    let deep = (0..200).fold(ident("a"), |below, _| call("!_", None, vec![below]));
    assert!(pb::Expr::decode(&*deep.encode_to_vec()).is_err());
    let refused = Expression::of_message(deep, Features::default()).unwrap_err();
    assert_eq!(refused, CelError::Plan(PlanError::Depth));
}
