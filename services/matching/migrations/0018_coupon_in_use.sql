-- The coupon that an order names. While the order is open, no other may name it: of two loans the second would get nothing.
-- Orders of before name theirs in their content only.
ALTER TABLE orders ADD COLUMN coupon_id UUID;
CREATE UNIQUE INDEX orders_coupon_in_use ON orders (coupon_id) WHERE state IN ('routed', 'accepted');
