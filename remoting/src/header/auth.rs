//! Users and access control. Names may be absent here: a blank one is refused by the handler with its own code.

use crate::header;

header! {
    /// AUTH_CREATE_USER.
    ///
    /// Reference: CreateUserRequestHeader
    pub struct CreateUserRequestHeader {
        username: Option<String> = "username";
    }
}

header! {
    /// AUTH_UPDATE_USER.
    ///
    /// Reference: UpdateUserRequestHeader
    pub struct UpdateUserRequestHeader {
        username: Option<String> = "username";
    }
}

header! {
    /// AUTH_DELETE_USER.
    ///
    /// Reference: DeleteUserRequestHeader
    pub struct DeleteUserRequestHeader {
        username: Option<String> = "username";
    }
}

header! {
    /// AUTH_GET_USER.
    ///
    /// Reference: GetUserRequestHeader
    pub struct GetUserRequestHeader {
        username: Option<String> = "username";
    }
}

header! {
    /// AUTH_LIST_USER.
    ///
    /// Reference: ListUsersRequestHeader
    pub struct ListUsersRequestHeader {
        filter: Option<String> = "filter";
    }
}

header! {
    /// AUTH_CREATE_ACL.
    ///
    /// Reference: CreateAclRequestHeader
    pub struct CreateAclRequestHeader {
        subject: Option<String> = "subject";
    }
}

header! {
    /// AUTH_UPDATE_ACL.
    ///
    /// Reference: UpdateAclRequestHeader
    pub struct UpdateAclRequestHeader {
        subject: Option<String> = "subject";
    }
}

header! {
    /// AUTH_DELETE_ACL.
    ///
    /// Reference: DeleteAclRequestHeader
    pub struct DeleteAclRequestHeader {
        subject: Option<String> = "subject";
        policy_type: Option<String> = "policyType";
        resource: Option<String> = "resource";
    }
}

header! {
    /// AUTH_GET_ACL.
    ///
    /// Reference: GetAclRequestHeader
    pub struct GetAclRequestHeader {
        subject: Option<String> = "subject";
    }
}

header! {
    /// AUTH_LIST_ACL.
    ///
    /// Reference: ListAclsRequestHeader
    pub struct ListAclsRequestHeader {
        subject_filter: Option<String> = "subjectFilter";
        resource_filter: Option<String> = "resourceFilter";
    }
}
