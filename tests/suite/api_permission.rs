//! Who may do what: every operation is closed until something opens it; roles grant, scopes narrow.

use serde_json::{Map, Value, json};
use tests::{Client, Database, Door, Operations};

use crate::api_identity::{join, tenant};
use crate::api_tenancy::graph;

/// Operations that need nothing: they are how one gets in.
const OPEN: [&str; 6] =
    ["login", "loginExternal", "refreshSession", "acceptInvitation", "setupNeeded", "setUp"];
/// Operations that need credentials and nothing more.
const OWN: [&str; 8] = [
    "me",
    "changePassword",
    "tenants",
    "validateWorkflow",
    "previewSchedule",
    "logout",
    "sessions",
    "userEvents",
];

const NEW_KEY: &str = "mutation($t: ID!, $role: TenantRole!, $roles: [ID!], $scopes: [String!]) {
    createApiKey(tenant: $t, title: \"K\", role: $role, roles: $roles, scopes: $scopes) { secret apiKey { id roles scopes } } }";
const NEW_ROLE: &str = "mutation($t: ID!, $title: String!, $grants: [String!]!) {
    createRole(tenant: $t, title: $title, grants: $grants) { id permissions } }";
const SET_ROLES: &str =
    "mutation($t: ID!, $u: ID!, $r: [ID!]!) { setMemberRoles(tenant: $t, user: $u, roles: $r) { roles } }";
const SET_ROLE: &str =
    "mutation($t: ID!, $u: ID!, $r: TenantRole!) { setMemberRole(tenant: $t, user: $u, role: $r) { role } }";
const LOOK: &str = "query($t: ID!) { workflows(tenant: $t) { nodes { id } } }";

async fn scoped_key(admin: &Client, tenant: &Value, role: &str, scopes: Value) -> Client {
    let made = admin.ok(NEW_KEY, json!({"t": tenant, "role": role, "scopes": scopes})).await;
    admin.with_key(made["createApiKey"]["secret"].as_str().unwrap())
}

async fn new_role(admin: &Client, tenant: &Value, title: &str, grants: &[&str]) -> Value {
    let made = admin.ok(NEW_ROLE, json!({"t": tenant, "title": title, "grants": grants})).await;
    made["createRole"]["id"].clone()
}

async fn user_id(client: &Client) -> Value {
    client.ok("{ me { user { id } } }", json!({})).await["me"]["user"]["id"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_has_its_denial() {
    let database = Database::new().await;
    let door = Door::open(&database).await;
    let admin = door.admin().await;
    let acme = tenant(&admin, "acme").await;
    let user = door.user("eve@example.org", "USER").await;
    // Two keys, so that each operation is tried with one that does not hold its permission.
    let one = scoped_key(&admin, &acme, "ADMIN", json!(["tenant:permissions:list"])).await;
    let other = scoped_key(&admin, &acme, "ADMIN", json!(["tenant:bundle:preview"])).await;
    let operations = Operations::read(&door.nobody()).await;
    assert!(operations.all.len() > 40);
    for operation in &operations.all {
        let name = operation.name.as_str();
        let (query, variables) = operation.call(&operations, &Map::new());
        if OPEN.contains(&name) {
            continue;
        }
        let (code, told) = door.nobody().refusal(&query, variables.clone()).await;
        assert_eq!(code, "UNAUTHENTICATED", "{name} without credentials: {told}");
        if OWN.contains(&name) {
            continue;
        }
        if operation.takes_tenant() {
            let key = if name == "permissions" { &other } else { &one };
            let (code, told) = key.refusal(&query, variables).await;
            assert_eq!(code, "FORBIDDEN", "{name} with a key that lacks its permission: {told}");
            assert!(told.contains("needs the permission `tenant:"), "{name}: {told}");
        } else {
            let (code, told) = user.refusal(&query, variables.clone()).await;
            assert_eq!(code, "FORBIDDEN", "{name} as an ordinary user: {told}");
            let (code, told) = one.refusal(&query, variables).await;
            assert_eq!(
                (code.as_str(), told.contains("API key")),
                ("FORBIDDEN", true),
                "{name} with a key: {told}"
            );
        }
    }
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_with_roles_may_do_exactly_what_they_grant() {
    let database = Database::new().await;
    let door = Door::open(&database).await;
    let admin = door.admin().await;
    let acme = tenant(&admin, "acme").await;
    let ada = door.user("ada@example.org", "USER").await;
    join(&admin, &acme, "ada@example.org", "MEMBER").await;
    let ada_id = user_id(&ada).await;
    let create =
        "mutation($t: ID!, $d: JSON!) { createWorkflow(tenant: $t, title: \"W\", definition: $d) { id } }";
    ada.ok(create, json!({"t": acme, "d": graph()})).await;

    let viewer = new_role(&admin, &acme, "viewer", &["tenant:*:list", "tenant:*:read"]).await;
    admin.ok(SET_ROLES, json!({"t": acme, "u": ada_id, "r": [viewer]})).await;
    ada.ok(LOOK, json!({"t": acme})).await;
    let refused = ada.refusal(create, json!({"t": acme, "d": graph()})).await;
    assert_eq!(refused.0, "FORBIDDEN");
    assert!(refused.1.contains("`tenant:workflow:create`"), "{}", refused.1);
    // In use, it cannot be deleted: its members would suddenly have more.
    let delete = "mutation($t: ID!, $r: ID!) { deleteRole(tenant: $t, id: $r) }";
    assert_eq!(admin.refusal(delete, json!({"t": acme, "r": viewer})).await.0, "CONFLICT");
    // A change of the role holds at once; one that grants nothing leaves nothing.
    let update = "mutation($t: ID!, $r: ID!, $g: [String!]!) { updateRole(tenant: $t, id: $r, title: \"viewer\", grants: $g) { id } }";
    admin.ok(update, json!({"t": acme, "r": viewer, "g": []})).await;
    assert_eq!(ada.refusal(LOOK, json!({"t": acme})).await.0, "FORBIDDEN");
    admin.ok(SET_ROLES, json!({"t": acme, "u": ada_id, "r": []})).await;
    ada.ok(create, json!({"t": acme, "d": graph()})).await;
    admin.ok(delete, json!({"t": acme, "r": viewer})).await;
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_gives_more_than_they_hold() {
    let database = Database::new().await;
    let door = Door::open(&database).await;
    let admin = door.admin().await;
    let acme = tenant(&admin, "acme").await;
    let eve = door.user("eve@example.org", "USER").await;
    join(&admin, &acme, "eve@example.org", "MEMBER").await;
    door.user("bob@example.org", "USER").await;
    let grants = ["tenant:role:*", "tenant:user:*", "tenant:apikey:*", "tenant:workflow:read"];
    let clerk = new_role(&admin, &acme, "clerk", &grants).await;
    let strong = new_role(&admin, &acme, "strong", &["tenant:**"]).await;
    let (eve_id, admin_id) = (user_id(&eve).await, user_id(&admin).await);
    admin.ok(SET_ROLES, json!({"t": acme, "u": eve_id, "r": [clerk]})).await;

    let add = "mutation($t: ID!, $r: TenantRole!) { addMember(tenant: $t, email: \"bob@example.org\", role: $r) { userId } }";
    let remove = "mutation($t: ID!, $u: ID!) { removeMember(tenant: $t, user: $u) }";
    let update =
        "mutation($t: ID!, $r: ID!) { updateRole(tenant: $t, id: $r, title: \"x\", grants: []) { id } }";
    let tried = [
        (NEW_ROLE, json!({"t": acme, "title": "mine", "grants": ["tenant:**"]})),
        (SET_ROLES, json!({"t": acme, "u": eve_id, "r": [strong]})),
        (SET_ROLES, json!({"t": acme, "u": eve_id, "r": []})),
        (SET_ROLE, json!({"t": acme, "u": eve_id, "r": "ADMIN"})),
        (SET_ROLE, json!({"t": acme, "u": admin_id, "r": "MEMBER"})),
        (add, json!({"t": acme, "r": "ADMIN"})),
        (remove, json!({"t": acme, "u": admin_id})),
        (update, json!({"t": acme, "r": strong})),
        (NEW_KEY, json!({"t": acme, "role": "ADMIN"})),
        (NEW_KEY, json!({"t": acme, "role": "MEMBER"})),
        (NEW_KEY, json!({"t": acme, "role": "MEMBER", "roles": [strong]})),
    ];
    for (query, variables) in tried {
        let refused = eve.refusal(query, variables.clone()).await;
        assert_eq!(refused.0, "FORBIDDEN", "{query} {variables}: {}", refused.1);
    }
    // What they hold they may hand on.
    eve.ok(NEW_ROLE, json!({"t": acme, "title": "mine", "grants": ["tenant:workflow:read"]})).await;
    eve.ok(NEW_KEY, json!({"t": acme, "role": "MEMBER", "roles": [clerk], "scopes": ["tenant:workflow:*"]}))
        .await;
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_has_what_its_roles_give_and_its_scopes_leave() {
    let database = Database::new().await;
    let door = Door::open(&database).await;
    let admin = door.admin().await;
    let acme = tenant(&admin, "acme").await;
    let key = scoped_key(&admin, &acme, "ADMIN", json!(["tenant:workflow:list"])).await;
    key.ok("{ workflows { nodes { id } } }", json!({})).await;
    assert_eq!(key.refusal("{ listeners { nodes { id } } }", json!({})).await.0, "FORBIDDEN");
    let all = key.refusal("{ permissions { title } }", json!({})).await;
    assert!(all.1.contains("`tenant:permissions:list`"), "{}", all.1);
    let role = new_role(&admin, &acme, "hears", &["tenant:listener:*"]).await;
    let made = admin.ok(NEW_KEY, json!({"t": acme, "role": "MEMBER", "roles": [role]})).await;
    let key = admin.with_key(made["createApiKey"]["secret"].as_str().unwrap());
    key.ok("{ listeners { nodes { id } } }", json!({})).await;
    assert_eq!(key.refusal("{ workflows { nodes { id } } }", json!({})).await.0, "FORBIDDEN");
    for bad in ["tenant:workflw:read", "workflow read", ""] {
        let refused = admin.refusal(NEW_KEY, json!({"t": acme, "role": "MEMBER", "scopes": [bad]})).await;
        assert_eq!(refused.0, "BAD_USER_INPUT", "{bad}");
    }
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_old_wildcard_is_read_as_of_old_where_it_is_asked_for() {
    let database = Database::new().await;
    let door = Door::open(&database).await;
    let legacy = Door::with(&database, |config| config.wildcard = rules::access::Wildcard::Legacy).await;
    let admin = legacy.admin().await;
    let acme = tenant(&admin, "acme").await;
    let ada = door.user("ada@example.org", "USER").await;
    join(&admin, &acme, "ada@example.org", "MEMBER").await;
    let role = new_role(&admin, &acme, "r", &["tenant:*:read"]).await;
    admin.ok(SET_ROLES, json!({"t": acme, "u": user_id(&ada).await, "r": [role]})).await;
    assert_eq!(ada.refusal(LOOK, json!({"t": acme})).await.0, "FORBIDDEN", "one segment: no list");
    legacy.login("ada@example.org").await.ok(LOOK, json!({"t": acme})).await;
    legacy.close().await;
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_administrator_cannot_be_demoted_nor_replaced_by_one_who_is_shut_out() {
    let database = Database::new().await;
    let door = Door::open(&database).await;
    let admin = door.admin().await;
    let acme = tenant(&admin, "acme").await;
    let own = user_id(&admin).await;
    assert_eq!(admin.refusal(SET_ROLE, json!({"t": acme, "u": own, "r": "MEMBER"})).await.0, "CONFLICT");
    let ada = user_id(&door.user("ada@example.org", "USER").await).await;
    join(&admin, &acme, "ada@example.org", "MEMBER").await;
    admin.ok(SET_ROLE, json!({"t": acme, "u": ada, "r": "ADMIN"})).await;
    let shut = "mutation($u: ID!, $on: Boolean!) { setUserEnabled(id: $u, enabled: $on) { id } }";
    admin.ok(shut, json!({"u": ada, "on": false})).await;
    assert_eq!(admin.refusal(SET_ROLE, json!({"t": acme, "u": own, "r": "MEMBER"})).await.0, "CONFLICT");
    admin.ok(shut, json!({"u": ada, "on": true})).await;
    admin.ok(SET_ROLE, json!({"t": acme, "u": own, "r": "MEMBER"})).await;
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_module_can_be_switched_off_for_the_deployment_and_for_a_tenant() {
    use rules::access::Module;
    let database = Database::new().await;
    let door = Door::with(&database, |config| config.modules = vec![Module::Tenant, Module::Workflow]).await;
    let admin = door.admin().await;
    let acme = tenant(&admin, "acme").await;
    admin.ok(LOOK, json!({"t": acme})).await;
    let hears = "query($t: ID!) { listeners(tenant: $t) { nodes { id } } }";
    let refused = admin.refusal(hears, json!({"t": acme})).await;
    assert_eq!((refused.0.as_str(), refused.1.contains("`listener`")), ("FORBIDDEN", true), "{}", refused.1);
    sqlx::query("update tenant set modules = '{listener}'")
        .execute(&mut database.connect().await)
        .await
        .unwrap();
    assert_eq!(admin.refusal(LOOK, json!({"t": acme})).await.0, "FORBIDDEN");
    admin.ok("query($t: ID!) { members(tenant: $t) { nodes { email } } }", json!({"t": acme})).await;
    door.close().await;
}
